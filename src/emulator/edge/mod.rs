//! The playback edge: what a player requests, and what it receives or why it is refused.
//!
//! `GET` on a playback URL returns the multivariant playlist of a live channel. A private channel
//! requires `?token=`: [`multivariant`] applies every rule of IVS for that token, in the order that
//! `docs/emulator.md` gives. [`token`] verifies the signature, [`claims`] checks the payload and
//! [`origin`] the requesting page. An accepted request opens a [`session`], whose variant playlists
//! and segments [`stream`] serves.

mod claims;
mod media;
mod multivariant;
mod origin;
mod playlist;
pub(super) mod refusal;
pub(super) mod session;
mod stream;
mod token;

use std::{num::NonZeroUsize, sync::Arc, thread};

use axum::{
    Router,
    routing::{self, MethodFilter},
};
use tokio::sync::Semaphore;

use super::Shared;

pub(super) fn router() -> Router<Arc<Shared>> {
    let methods = MethodFilter::GET.or(MethodFilter::OPTIONS);
    Router::new()
        .route("/api/video/v1/{*channel}", routing::on(methods, multivariant::get))
        .route("/v1/playlist/{*session}", routing::on(methods, stream::get))
        .route("/v1/segment/{*session}", routing::on(methods, stream::get))
}

/// Limits how many tokens are verified at a time to one per processor. Nothing else here takes long,
/// and many players that start together must not slow down those that already play.
pub(super) fn verification_slots() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, NonZeroUsize::get)))
}

//! Playback authorization for Amazon IVS private channels.
//!
//! The library behind the `ivs-playback-auth` binary: it keeps the P-384 playback key pairs of a
//! region, mints ES384 viewer tokens over HTTP, looks channels up through a cache that lives inside
//! IVS's quotas, and carries an emulator of IVS to try all of it with.
//!
//! # Map
//!
//! From top to bottom; a module uses only what stands below it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`cli`] | one file a subcommand |
//! | [`app`] | composition root: configuration to components, router and background tasks |
//! | [`http`] | the HTTP API; the only place with a status code |
//! | [`service`] | the use cases, called by `http` and `cli` |
//! | [`api`] | the JSON of requests and responses |
//! | [`access`] | who calls: credentials, scopes, audit |
//! | [`revocation`] | ending viewer sessions, denying new tokens |
//! | [`inspection`] | finds what is wrong with a token, URL, request or 403; no I/O |
//! | [`tokens`] | the contents of a token: grant, claims, IVS's rules, minting; no I/O |
//! | [`channels`] | the cached channel lookup |
//! | [`keys`] | key material, keyring, stores, and what changes them |
//! | [`ivs`] | the only door to Amazon IVS |
//! | [`config`] | the configuration tree, composed of the `Settings` of the modules |
//! | [`telemetry`], [`clock`], [`secret`], [`settings`] | what everyone may use |
//!
//! The ARN types ([`ivs::arn`]) know nothing but text, and [`emulator`] uses them, too.
//!
//! [`emulator`] stands apart. It uses [`clock`] and the ARN types alone, and verifies tokens with its
//! own code and another crypto library than the one that signs, so that a mistake of one is not
//! repeated by the other.
//!
//! # How a token is minted
//!
//! 1. `access` knows the caller from the headers, before a byte of the body is read.
//! 2. `service::mint` turns a request into a grant, reporting every broken rule at once.
//! 3. `channels` looks the channel up; a warm hit takes no lock and makes no call.
//! 4. `keys` hands out the region's active signer, parsed when the keyring was read.
//! 5. `tokens::mint` prepares what the signer signs, and reads the finished token again.
//!
//! # What always holds
//!
//! - No call that changes IVS is made before its intent is in the keyring.
//! - No token is signed with a keyring that may be too old.
//! - Time and randomness are arguments of every decision.
//! - No private key, token or credential reaches a log, an error or a debug print.

pub mod access;
pub mod api;
pub mod app;
pub mod channels;
pub mod cli;
pub mod clock;
pub mod config;
pub mod emulator;
mod files;
mod hex;
pub mod http;
pub mod inspection;
pub mod ivs;
pub mod keys;
mod prose;
pub mod revocation;
pub mod secret;
pub mod service;
pub mod settings;
pub mod telemetry;
pub mod tokens;

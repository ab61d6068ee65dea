//! `openapi`.

use super::{Failure, output};
use crate::http::openapi::document;

pub(super) fn run() -> Result<(), Failure> {
    output::line(&document(None))
}

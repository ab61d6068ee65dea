//! The only door to Amazon IVS.

pub mod arn;

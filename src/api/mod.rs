//! The JSON of requests and responses: one struct per body, which `http` reads and sends, and which
//! `--output json` prints.

pub mod json;

//! The `ivs-playback-auth` binary.

fn main() {}

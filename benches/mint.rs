//! Benchmarks of the hot path.

fn main() {}

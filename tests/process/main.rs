//! Tests with the built binary.

//! What must not be seen, and the randomness it is made of.
//!
//! Secrets travel in [`SecretString`] and [`SecretBox`] (crate `secrecy`): redacted in `Debug`,
//! without `Serialize`, wiped on drop, and read only through [`ExposeSecret`], which is easy to
//! search for.

pub use secrecy::{ExposeSecret, SecretBox, SecretString};

/// The operating system's random generator, for keys, credentials and single-use ids.
///
/// Functions that need randomness take `&mut impl CryptoRng`; components make one here. A machine
/// whose random source fails must not issue credentials, so a failure panics.
pub fn system_rng() -> SystemRng {
    rand::rand_core::UnwrapErr(rand::rngs::SysRng)
}

/// See [`system_rng`].
pub type SystemRng = rand::rand_core::UnwrapErr<rand::rngs::SysRng>;

/// Whether two byte strings are equal, in a time that depends only on their lengths.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}

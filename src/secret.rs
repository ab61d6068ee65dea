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
    #[cfg(not(test))]
    return rand::rand_core::UnwrapErr(rand::rngs::SysRng);
    #[cfg(test)]
    return SystemRng;
}

/// See [`system_rng`].
#[cfg(not(test))]
pub type SystemRng = rand::rand_core::UnwrapErr<rand::rngs::SysRng>;
#[cfg(test)]
pub use seeded::SystemRng;

/// Whether two byte strings are equal, in a time that depends only on their lengths.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}

/// In unit tests, a thread can be given a seed, so that a simulation that failed can be repeated.
#[cfg(test)]
pub(crate) mod seeded {
    use std::{cell::RefCell, convert::Infallible};

    use rand::{
        SeedableRng,
        rand_core::{TryCryptoRng, TryRng, UnwrapErr},
        rngs::{StdRng, SysRng},
    };

    thread_local! {
        static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on this thread's randomness follows from `seed`.
    pub(crate) fn seed(seed: u64) {
        SEEDED.with_borrow_mut(|rng| *rng = Some(StdRng::seed_from_u64(seed)));
    }

    /// The operating system's generator, unless the thread has a seed.
    #[derive(Clone, Copy, Debug)]
    pub struct SystemRng;

    impl TryRng for SystemRng {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            SEEDED.with_borrow_mut(|rng| match rng {
                Some(rng) => rng.try_next_u32(),
                None => UnwrapErr(SysRng).try_next_u32(),
            })
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            SEEDED.with_borrow_mut(|rng| match rng {
                Some(rng) => rng.try_next_u64(),
                None => UnwrapErr(SysRng).try_next_u64(),
            })
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            SEEDED.with_borrow_mut(|rng| match rng {
                Some(rng) => rng.try_fill_bytes(bytes),
                None => UnwrapErr(SysRng).try_fill_bytes(bytes),
            })
        }
    }

    impl TryCryptoRng for SystemRng {}
}

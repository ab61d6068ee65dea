//! How many files the process may have open, and what of them is left for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;

/// Kept back from connections: for the key store, logs, calls to AWS and the connections of
/// `server.operations_listen`.
const RESERVED: u64 = 256;

/// A connection costs memory, too: the default is never higher, however many files may be open.
const MOST: u64 = 16_384;

/// The process's limit of open files.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFiles {
    limit: u64,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one, and logs the result.
    pub(super) fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        // Without a limit of its own, the kernel's applies, and that is higher than any need here.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        match raised {
            Ok(()) => tracing::info!(
                event = "open_files",
                limit,
                softLimitBefore = current.unwrap_or(u64::MAX),
                "limit of open files"
            ),
            Err(error) => tracing::warn!(
                event = "open_files_not_raised",
                limit,
                %error,
                "the soft limit of open files could not be raised"
            ),
        }
        Self { limit }
    }

    /// The most connections of a listener that shares the process with `others` of its kind:
    /// `server.max_connections`, or what the limit of open files allows where that is 0.
    ///
    /// # Errors
    ///
    /// The limit of open files is too low for the configured number.
    pub(super) fn max_connections(
        self,
        configured: usize,
        listeners: u64,
    ) -> Result<usize, StartError> {
        let reserved = RESERVED.min(self.limit / 2);
        let available = (self.limit - reserved) / listeners;
        let derived = usize::try_from(available.min(MOST)).unwrap_or(usize::MAX);
        if configured == 0 {
            return Ok(derived.max(1));
        }
        if u64::try_from(configured).is_ok_and(|configured| configured > available) {
            return Err(StartError::OpenFiles { configured, limit: self.limit, available });
        }
        Ok(configured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_connections_leaves_files_for_everything_else() {
        let limit = |limit| OpenFiles { limit };
        assert_eq!(limit(1024).max_connections(0, 1).unwrap(), 768);
        assert_eq!(limit(1024).max_connections(0, 2).unwrap(), 384);
        assert_eq!(limit(64).max_connections(0, 1).unwrap(), 32);
        assert_eq!(limit(u64::MAX).max_connections(0, 1).unwrap(), 16_384);
        assert_eq!(limit(1024).max_connections(768, 1).unwrap(), 768);
        assert_eq!(limit(1_048_576).max_connections(100_000, 1).unwrap(), 100_000);
        let refused = limit(1024).max_connections(769, 1).unwrap_err().to_string();
        assert!(refused.contains("1024") && refused.contains("768"), "{refused}");
    }
}

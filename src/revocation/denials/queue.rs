//! Denials that wait to be written. At most one thread writes. Denials that arrive in the meantime wait without blocking
//! a thread, and are then written together, with one sync.
//!
//! A caller may give up. Denials that no writer has taken by then are never written.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::{Denial, Denials, DenialsError};
use crate::clock::Timestamp;

/// Viewers are not denied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::revocation) struct NotDenied {
    /// They may be denied all the same: writing had begun, and how it ended is unknown.
    pub(in crate::revocation) perhaps: bool,
}

/// Denials that wait to be written.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Held by the writer.
    writer: Arc<AsyncMutex<()>>,
    /// Whether the last denials could not be written.
    is_failing: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

struct Entry {
    denials: Vec<Denial>,
    now: Timestamp,
    outcome: oneshot::Sender<Result<(), NotDenied>>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }
}

/// Denials of one caller. Dropping it gives them up.
pub(in crate::revocation) struct Denying {
    denials: Denials,
    number: u64,
    outcome: oneshot::Receiver<Result<(), NotDenied>>,
}

impl Denying {
    /// Waits until they are on disk and known to every later mint of this process.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written; the log gives the reason.
    pub(in crate::revocation) async fn wait(&mut self) -> Result<(), NotDenied> {
        // Only a writer that panicked reports nothing.
        let unknown = |_| Err(NotDenied { perhaps: true });
        let writer = Arc::clone(&self.denials.0.queue.writer);
        let writer = tokio::select! {
            biased;
            written = &mut self.outcome => return written.unwrap_or_else(unknown),
            writer = writer.lock_owned() => writer,
        };
        let denials = self.denials.clone();
        // The next writer begins when this one ends, even if its caller no longer waits.
        let write = move || {
            denials.write_waiting();
            drop(writer);
        };
        drop(tokio::task::spawn_blocking(write));
        (&mut self.outcome).await.unwrap_or_else(unknown)
    }

    /// Takes them back, unless writing has begun.
    pub(in crate::revocation) fn give_up(&self) -> NotDenied {
        let taken_back = self.denials.0.queue.lock().entries.remove(&self.number).is_some();
        NotDenied { perhaps: !taken_back }
    }
}

impl Drop for Denying {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Denials {
    /// Queues denials, which are written while [`Denying::wait`] is polled.
    pub(in crate::revocation) fn deny(&self, denials: Vec<Denial>, now: Timestamp) -> Denying {
        let (outcome, receiver) = oneshot::channel();
        let mut waiting = self.0.queue.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.entries.insert(number, Entry { denials, now, outcome });
        Denying { denials: self.clone(), number, outcome: receiver }
    }

    /// Writes the waiting denials. Blocks on the file.
    fn write_waiting(&self) {
        // An earlier writer may have taken all.
        if self.0.queue.lock().entries.is_empty() {
            return;
        }
        let lock = self.lock_file();
        // Includes denials that arrived while another process held the lock, and none that were given up.
        let entries = mem::take(&mut self.0.queue.lock().entries);
        let Some(now) = entries.values().map(|entry| entry.now).max() else { return };
        let (denials, callers): (Vec<_>, Vec<_>) =
            entries.into_values().map(|entry| (entry.denials, entry.outcome)).unzip();
        let written = lock.and_then(|lock| self.add(&lock, denials.into_iter().flatten(), now));
        if written.is_ok() && self.0.queue.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "denials_written", "viewers can be denied again");
        }
        let outcome = written.map_err(|error| {
            self.0.queue.is_failing.store(true, Ordering::Relaxed);
            tracing::error!(event = "denials_not_written", %error, "viewers could not be denied");
            NotDenied { perhaps: matches!(error, DenialsError::Unfinished { .. }) }
        });
        for caller in callers {
            // A caller that is gone has given up.
            let _ = caller.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use futures_util::future::join_all;

    use super::{
        super::tests::{NOW, denial, file, opened, until},
        *,
    };
    use crate::files::Locked;

    /// With few threads that may block, so that a test sees whether some are left.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(2)
            .enable_time()
            .build()
            .unwrap()
    }

    fn locked(path: &Path) -> Locked {
        Locked::lock(path, 0o700).unwrap()
    }

    /// Until a writer waits for the lock of another process, at least.
    async fn writer_waits(denials: &Denials) {
        while denials.0.queue.writer.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn concurrent_denials_wait_without_a_thread_and_are_written_together() {
        let (_folder, path) = file();
        let denials = opened(&path);
        let lock = locked(&path);
        runtime().block_on(async {
            let mut asked: Vec<_> = (0..100)
                .map(|number| denials.deny(vec![denial(&number.to_string(), 60)], NOW))
                .collect();
            let all = join_all(asked.iter_mut().map(Denying::wait));
            let others = async {
                writer_waits(&denials).await;
                // All of them wait by now, and one thread is left.
                assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
                assert_eq!(until(&denials, "0"), None);
                drop(lock);
            };
            let (outcomes, ()) = tokio::join!(all, others);
            assert_eq!(outcomes, vec![Ok(()); 100]);
        });
        let again = opened(&path);
        for number in 0..100 {
            let number = number.to_string();
            assert_eq!((until(&denials, &number), until(&again, &number)), (Some(60), Some(60)));
        }
    }

    #[test]
    fn denial_given_up_before_it_was_written_is_never_written() {
        let (_folder, path) = file();
        let denials = opened(&path);
        let lock = locked(&path);
        runtime().block_on(async {
            let mut kept = denials.deny(vec![denial("kept", 60)], NOW);
            let dropped = denials.deny(vec![denial("dropped", 60)], NOW);
            let given_up = denials.deny(vec![denial("given up", 60)], NOW);
            let others = async {
                writer_waits(&denials).await;
                drop(dropped);
                assert_eq!(given_up.give_up(), NotDenied { perhaps: false });
                drop(lock);
            };
            let (outcome, ()) = tokio::join!(kept.wait(), others);
            assert_eq!(outcome, Ok(()));
            // Too late.
            assert_eq!(kept.give_up(), NotDenied { perhaps: true });
        });
        let again = opened(&path);
        assert_eq!(until(&again, "kept"), Some(60));
        assert_eq!((until(&again, "dropped"), until(&again, "given up")), (None, None));
    }

    #[test]
    fn failure_is_reported_to_all_and_the_next_writer_tries_again() {
        let (folder, path) = file();
        fs::write(folder.path().join("data"), "no folder").unwrap();
        let denials = Denials::new(path.clone());
        runtime().block_on(async {
            let mut asked = ["a", "b"].map(|id| denials.deny(vec![denial(id, 60)], NOW));
            let outcomes = join_all(asked.iter_mut().map(Denying::wait)).await;
            assert_eq!(outcomes, [Err(NotDenied { perhaps: false }); 2]);
            fs::remove_file(folder.path().join("data")).unwrap();
            assert_eq!(denials.deny(vec![denial("a", 60)], NOW).wait().await, Ok(()));
        });
        let again = opened(&path);
        assert_eq!((until(&again, "a"), until(&again, "b")), (Some(60), None));
        assert_eq!(denials.0.queue.lock().entries.len(), 0);
    }

    #[test]
    fn callers_can_give_up_while_a_writer_is_stuck() {
        let (_folder, path) = file();
        let denials = opened(&path);
        let _lock = locked(&path);
        let runtime = runtime();
        runtime.block_on(async {
            let mut first = denials.deny(vec![denial("a", 60)], NOW);
            let mut second = denials.deny(vec![denial("b", 60)], NOW);
            let both = async { tokio::join!(first.wait(), second.wait()) };
            assert!(tokio::time::timeout(Duration::from_millis(50), both).await.is_err());
            let certainly = NotDenied { perhaps: false };
            assert_eq!((first.give_up(), second.give_up()), (certainly, certainly));
        });
        runtime.shutdown_background();
        assert_eq!(until(&denials, "a"), None);
    }
}

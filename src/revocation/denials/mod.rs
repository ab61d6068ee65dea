//! Denying viewers new tokens for a while: `denyFor`.
//!
//! A mint checks the denials in memory, under a lock that is held briefly. A denial is on disk before it is in
//! memory, and in memory before it is promised, so that neither a crash nor a concurrent mint breaks the promise.
//! Another process of the machine, such as `viewers revoke`, may write the file: a running service reads its changes
//! every [`READ_EVERY`].
//!
//! Denials end by the wall clock: if it is set back they last longer, and if it is set ahead they end sooner. Of two
//! denials of one viewer on one channel, the longer one counts.

mod file;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    fs::File,
    io, mem,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

pub(super) use self::queue::NotDenied;
use self::{
    file::{DenialsFile, News},
    queue::Queue,
};
use crate::{clock::Timestamp, files::Locked, ivs::arn::ChannelArn, tokens::claims::ViewerId};

/// How often the denials of other processes are read from the file. Less than any sensible
/// `viewers.clock_allowance`: a token that is minted until then is revoked by its version.
pub const READ_EVERY: Duration = Duration::from_millis(250);

/// The number of ended denials that are kept, in memory and in the file, beyond the number of the others.
const SLACK: usize = 1000;

/// A viewer gets no new token for a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The channel.
    pub channel: ChannelArn,
    /// The viewer.
    pub viewer: ViewerId,
    /// When it ends, in whole seconds.
    pub until: Timestamp,
}

impl Denial {
    /// Returns a denial from `now` on, for `duration`.
    pub fn new(channel: ChannelArn, viewer: ViewerId, now: Timestamp, duration: Duration) -> Self {
        // Rounded up to a whole second, which is what the file contains.
        let until = now + duration + Duration::from_millis(999);
        Self { channel, viewer, until: until.floor_to_second() }
    }
}

/// Why the file of denials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DenialsError {
    /// It exists and cannot be read.
    #[error(
        "The file of denied viewers {path} cannot be read: {cause}. Make it readable or change \
         viewers.deny_list.", path = .path.display()
    )]
    Unreadable {
        /// `viewers.deny_list`.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It cannot be written, and nothing was.
    #[error(
        "The file of denied viewers {path} cannot be written: {cause}. Make its folder writable and \
         lockable, or change viewers.deny_list.", path = .path.display()
    )]
    Unwritable {
        /// `viewers.deny_list`.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It was written, and how much of that is on disk is unknown.
    #[error(
        "The file of denied viewers {path} could not be flushed to disk: {cause}. Fix the disk, \
         free space on it, or change viewers.deny_list.", path = .path.display()
    )]
    Unfinished {
        /// `viewers.deny_list`.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A line of it is not a denial.
    #[error(
        "Line {line} of {path} is not a valid denial; fix or remove it.", path = .path.display()
    )]
    Damaged {
        /// `viewers.deny_list`.
        path: PathBuf,
        /// The first such line, from 1.
        line: usize,
    },
}

/// The viewers who are denied. Cheap to clone.
#[derive(Clone)]
pub struct Denials(Arc<Inner>);

struct Inner {
    path: PathBuf,
    denied: RwLock<Denied>,
    queue: Queue,
    /// Locked for as long as the file is read or written.
    file: Mutex<Watched>,
    /// Whether the file was there and is gone.
    is_file_gone: AtomicBool,
}

struct Watched {
    file: DenialsFile,
    /// How many denials there may be before those that have ended are forgotten.
    room: usize,
    /// What was wrong with it, so that it is logged once.
    fault: Option<String>,
}

impl fmt::Debug for Denials {
    /// Does not show the viewers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denials").finish_non_exhaustive()
    }
}

impl Denials {
    /// Returns the denials of the file at `path`, which need not exist. Nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self::with_sync(path, File::sync_data)
    }

    fn with_sync(path: PathBuf, sync: file::SyncFile) -> Self {
        let file = DenialsFile::new(path.clone(), sync);
        let file = Mutex::new(Watched { file, room: SLACK, fault: None });
        Self(Arc::new(Inner {
            path,
            denied: RwLock::default(),
            queue: Queue::default(),
            file,
            is_file_gone: AtomicBool::new(false),
        }))
    }

    /// Returns until when the viewer gets no token for the channel, if `now` is before that.
    pub fn denied_until(
        &self,
        channel: &ChannelArn,
        viewer: &ViewerId,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let denied = self.0.denied.read();
        denied.until(channel, viewer.as_str()).filter(|until| now < *until)
    }

    /// Reads what other processes wrote into the file. Blocks on it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or a line of it is not a denial. The denials stay as they are.
    pub fn reload(&self, now: Timestamp) -> Result<(), DenialsError> {
        let mut watched = self.0.file.lock();
        self.0.take_news(&mut watched.file, now)
    }

    /// Keeps other processes from writing until the lock is dropped. Blocks for at most 10 s.
    fn lock_file(&self) -> Result<Locked, DenialsError> {
        file::lock(&self.0.path)
    }

    /// Adds denials, and returns once they are on disk and known to every later mint of this process. Blocks
    /// on the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written. Some of them may be denied all the same.
    fn add(
        &self,
        lock: &Locked,
        denials: impl IntoIterator<Item = Denial>,
        now: Timestamp,
    ) -> Result<(), DenialsError> {
        let mut watched = self.0.file.lock();
        let Watched { file, room, .. } = &mut *watched;
        self.0.take_news(file, now)?;
        self.0.make_room(room, now);
        // At most one for each viewer and channel.
        let mut asked = Denied::default();
        for denial in denials {
            asked.add(denial);
        }
        let new: Vec<_> = {
            let denied = self.0.denied.read();
            let new: Vec<_> =
                asked.into_denials().filter(|denial| denied.would_add(denial)).collect();
            file.write(lock, &new, &denied)?;
            new
        };
        let mut denied = self.0.denied.write();
        for denial in new {
            denied.add(denial);
        }
        Ok(())
    }

    /// Reads what other processes write into the file until `shutdown`. Logs what is wrong with it, each fault
    /// once.
    pub async fn run(self, clock: crate::clock::Clock, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(READ_EVERY)).await.is_some() {
            let (denials, now) = (self.clone(), clock.now());
            // A panic counts as a failed read; the next one may succeed.
            let _ = tokio::task::spawn_blocking(move || denials.reload_and_log(now)).await;
        }
    }

    fn reload_and_log(&self, now: Timestamp) {
        let fault = self.reload(now).err().map(|error| error.to_string());
        let mut watched = self.0.file.lock();
        if watched.fault != fault {
            if let Some(fault) = &fault {
                tracing::error!(event = "denials_not_reloaded", fault, "keeping the known denials");
            } else {
                tracing::info!(event = "denials_reloaded", "the deny list can be read again");
            }
            watched.fault = fault;
        }
    }
}

impl Inner {
    /// Forgets denials that have ended, from time to time.
    fn make_room(&self, room: &mut usize, now: Timestamp) {
        let mut denied = self.denied.write();
        if denied.len() >= *room {
            denied.forget_expired(now);
            *room = 2 * denied.len() + SLACK;
        }
    }

    fn take_news(&self, file: &mut DenialsFile, now: Timestamp) -> Result<(), DenialsError> {
        match file.read_news(now)? {
            News::None => {}
            News::Read(news) => {
                if self.is_file_gone.swap(false, Ordering::Relaxed) {
                    tracing::info!(event = "denials_file_back", "the deny list is there again");
                }
                let mut denied = self.denied.write();
                let old = mem::replace(&mut *denied, news);
                // Mints wait for the lock, and should not wait until many denials are dropped.
                drop(denied);
                drop(old);
            }
            News::Gone => {
                // An operator who wants to lift all denials leaves an empty file.
                self.is_file_gone.store(true, Ordering::Relaxed);
                tracing::warn!(
                    event = "denials_file_gone",
                    "the deny list is gone; keeping the known denials"
                );
            }
        }
        Ok(())
    }
}

/// When the denial of each viewer on each channel ends.
#[derive(Clone, Debug, Default)]
struct Denied(HashMap<ChannelArn, HashMap<String, Timestamp>>);

impl Denied {
    fn until(&self, channel: &ChannelArn, viewer_id: &str) -> Option<Timestamp> {
        self.0.get(channel)?.get(viewer_id).copied()
    }

    fn would_add(&self, denial: &Denial) -> bool {
        self.until(&denial.channel, denial.viewer.as_str()) < Some(denial.until)
    }

    /// Adds a denial unless a longer one is known.
    fn add(&mut self, denial: Denial) {
        if self.would_add(&denial) {
            let viewers = self.0.entry(denial.channel).or_default();
            viewers.insert(denial.viewer.as_str().to_owned(), denial.until);
        }
    }

    fn forget_expired(&mut self, now: Timestamp) {
        for viewers in self.0.values_mut() {
            viewers.retain(|_, until| now < *until);
        }
        self.0.retain(|_, viewers| !viewers.is_empty());
    }

    fn into_denials(self) -> impl Iterator<Item = Denial> {
        self.0.into_iter().flat_map(|(channel, viewers)| {
            viewers.into_iter().filter_map(move |(viewer, until)| {
                let viewer = ViewerId::parse(viewer).ok()?;
                Some(Denial { channel: channel.clone(), viewer, until })
            })
        })
    }

    fn len(&self) -> usize {
        self.0.values().map(HashMap::len).sum()
    }
}

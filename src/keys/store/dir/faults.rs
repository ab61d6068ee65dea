//! A disk that fails, stops or loses power at a chosen step.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::disk::{Disk, SystemDisk};
use crate::files::Owner;

/// What happens at the chosen step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The step fails, as on a full disk; later ones work.
    Once,
    /// The process ends before the step.
    Crash,
    /// As `Crash`, and of what folders list, nothing that was not synced survives.
    PowerCut,
    /// As `PowerCut`, but the last of what was not synced survives: disks write in any order.
    Reordered,
}

/// The machine's disk with one fault.
#[derive(Debug)]
pub(super) struct FaultyDisk {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Steps until the fault, and steps so far.
    left: usize,
    done: usize,
    struck: bool,
    /// How to undo the steps that no sync made durable, oldest first.
    volatile: Vec<Undo>,
}

#[derive(Debug)]
struct Undo {
    /// Which step it undoes.
    step: usize,
    path: PathBuf,
    /// What was there before.
    before: Before,
}

#[derive(Debug)]
enum Before {
    Nothing,
    File(Vec<u8>),
}

impl FaultyDisk {
    pub(super) fn new(fault: Fault, steps: usize) -> Self {
        let state = State { left: steps, done: 0, struck: false, volatile: Vec::new() };
        Self { fault, state: Mutex::new(state) }
    }

    /// Whether the fault came to pass.
    pub(super) fn struck(&self) -> bool {
        self.state.lock().unwrap().struck
    }

    /// Leaves the disk as the next process finds it.
    pub(super) fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        let last = state.volatile.last().map(|undo| undo.step);
        let survives = |undo: &Undo| match self.fault {
            Fault::Once | Fault::Crash => true,
            Fault::PowerCut => false,
            Fault::Reordered => Some(undo.step) == last,
        };
        let kept: Vec<_> = state.volatile.extract_if(.., |undo| survives(undo)).collect();
        for Undo { path, before, .. } in state.volatile.drain(..).rev() {
            if kept.iter().any(|undo| undo.path == path) {
                continue;
            }
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir(&path);
            if let Before::File(content) = before {
                let owner = Owner::of_replaced(&path).unwrap();
                SystemDisk.write_new(&path, &content, owner).unwrap();
            }
        }
    }

    fn step(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.struck && self.fault != Fault::Once {
            return Err(io::Error::other("the process has ended"));
        }
        if state.left == 0 && !state.struck {
            state.struck = true;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.left = state.left.saturating_sub(1);
        state.done += 1;
        Ok(())
    }

    fn remember(&self, path: &Path) {
        let before = fs::read(path).map_or(Before::Nothing, Before::File);
        let mut state = self.state.lock().unwrap();
        let step = state.done;
        state.volatile.push(Undo { step, path: path.to_owned(), before });
    }
}

impl Disk for FaultyDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.remember(path);
        SystemDisk.make_dir(path)
    }

    fn write_new(&self, path: &Path, content: &[u8], owner: Owner) -> io::Result<()> {
        let step = self.step();
        self.remember(path);
        if step.is_err() {
            // Half of it arrived.
            let half = content.get(..content.len() / 2).unwrap_or_default();
            let _ = SystemDisk.write_new(path, half, owner);
            return step;
        }
        SystemDisk.write_new(path, content, owner)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.remember(to);
        self.remember(from);
        SystemDisk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.state.lock().unwrap();
        state.volatile.retain(|undo| undo.path.parent() != Some(path));
        drop(state);
        SystemDisk.sync_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.remember(path);
        SystemDisk.remove(path)
    }
}

//! Whose lookup goes next.
//!
//! Each client has a line of its own, and lines take turns, one lookup at a time. A client that asks
//! for a million channels waits behind itself, and nobody else waits longer for it than for one
//! lookup a turn. A call takes at most 50 of a client's; what it asks for beyond those waits behind
//! them, unless that would outlast the deadline. So a client's line is bounded by the deadline and not
//! by a number: one that mints for 300 cold channels at once must be served, and six calls do that
//! within two seconds.
//!
//! Refreshes that nobody waits for take what room is left, and a tenth of a call if there is none:
//! they must neither delay people nor starve.
//!
//! The queue is one of anything: `viewers` has its sessions in one, a line a request.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Refreshes beyond these are not queued; the next lookup of the channel tries again.
const BACKGROUND_ROOM: usize = 1000;

/// What part of a call is kept for refreshes.
const BACKGROUND_SHARE: usize = 10;

/// On whose behalf a channel is looked up: lookups of one requester queue behind each other, not
/// before those of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Requester<'a>(&'a str);

impl<'a> Requester<'a> {
    /// This machine: a person at the command line.
    pub const LOCAL: Self = Self("");

    /// The client with this id.
    pub const fn client(id: &'a str) -> Self {
        Self(id)
    }

    /// Its line.
    pub(crate) fn line(self) -> Line {
        Line(self.0.into())
    }
}

/// Which line something stands in.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Line(Arc<str>);

/// Lookups that wait, in the order in which they will be made.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// None of them is empty.
    lines: HashMap<Line, VecDeque<T>>,
    /// Each of them, the next one first.
    turns: VecDeque<Line>,
    background: VecDeque<T>,
}

impl<T> FairQueue<T> {
    pub(crate) fn new() -> Self {
        Self { lines: HashMap::new(), turns: VecDeque::new(), background: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.background.is_empty()
    }

    /// How much waits in all lines.
    pub(crate) fn len(&self) -> usize {
        self.lines.values().map(VecDeque::len).sum::<usize>() + self.background.len()
    }

    /// To the end of a line.
    pub(crate) fn push(&mut self, line: &Line, item: T) {
        self.line(line).push_back(item);
    }

    /// To the head of a line, where it was taken from.
    pub(crate) fn put_back(&mut self, line: &Line, item: T) {
        self.line(line).push_front(item);
    }

    /// Behind everything that somebody waits for. Nothing happens if there is no room.
    pub(super) fn push_background(&mut self, item: T) -> bool {
        let room = self.background.len() < BACKGROUND_ROOM;
        if room {
            self.background.push_back(item);
        }
        room
    }

    /// How many calls of up to `size` go out before the one that takes what is pushed next.
    pub(super) fn calls_before(&self, line: &Line, size: usize) -> usize {
        let own = self.lines.get(line).map_or(0, VecDeque::len);
        let others = self.lines.iter().filter(|(other, _)| *other != line);
        let ahead = own + others.map(|(_, waiting)| waiting.len().min(own + 1)).sum::<usize>();
        ahead / self.room_of_lines(size).max(1)
    }

    /// Takes at most `size`, of each line in turn.
    pub(crate) fn take(&mut self, size: usize) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < self.room_of_lines(size) {
            let Some(item) = self.take_from_next_line() else { break };
            taken.push(item);
        }
        let left = size - taken.len();
        taken.extend(self.background.drain(..left.min(self.background.len())));
        while taken.len() < size {
            let Some(item) = self.take_from_next_line() else { break };
            taken.push(item);
        }
        taken
    }

    /// Drops what is not wanted any more.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        for waiting in self.lines.values_mut() {
            waiting.retain(&mut wanted);
        }
        self.lines.retain(|_, waiting| !waiting.is_empty());
        self.turns.retain(|line| self.lines.contains_key(line));
        self.background.retain(wanted);
    }

    fn line(&mut self, line: &Line) -> &mut VecDeque<T> {
        if !self.lines.contains_key(line) {
            self.turns.push_back(line.clone());
        }
        self.lines.entry(line.clone()).or_default()
    }

    /// What one call takes of those that somebody waits for, while refreshes wait.
    fn room_of_lines(&self, size: usize) -> usize {
        size - self.background.len().min(size / BACKGROUND_SHARE)
    }

    fn take_from_next_line(&mut self) -> Option<T> {
        let line = self.turns.pop_front()?;
        let waiting = self.lines.get_mut(&line)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.lines.remove(&line);
        } else {
            self.turns.push_back(line);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(name: &str) -> Line {
        Requester::client(name).line()
    }

    fn queue(lines: &[(&str, usize)]) -> FairQueue<String> {
        let mut queue = FairQueue::new();
        for (name, items) in lines {
            for item in 0..*items {
                queue.push(&line(name), format!("{name}{item}"));
            }
        }
        queue
    }

    #[test]
    fn lines_take_turns() {
        let mut queue = queue(&[("a", 100), ("b", 1), ("c", 2)]);
        assert_eq!(queue.take(5), ["a0", "b0", "c0", "a1", "c1"]);
        queue.push(&line("b"), "b1".to_owned());
        assert_eq!(queue.take(3), ["a2", "b1", "a3"]);
        assert_eq!(queue.take(100).len(), 96);
        assert!(queue.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn what_is_put_back_comes_first_in_its_line() {
        let mut queue = queue(&[("a", 2)]);
        let taken = queue.take(1).remove(0);
        queue.put_back(&line("a"), taken);
        assert_eq!(queue.take(2), ["a0", "a1"]);
    }

    #[test]
    fn refreshes_take_what_is_left_and_a_tenth() {
        let mut queue = queue(&[("a", 100)]);
        for item in 0..20 {
            assert!(queue.push_background(format!("x{item}")));
        }
        let background = |taken: &[String]| taken.iter().filter(|it| it.starts_with('x')).count();
        let taken = queue.take(50);
        assert_eq!((taken.len(), background(&taken)), (50, 5));
        assert_eq!(queue.take(1), ["a45"], "a call for one channel is not shared");
        let taken = queue.take(100);
        assert_eq!((taken.len(), background(&taken)), (69, 15));
        for _ in 0..BACKGROUND_ROOM {
            assert!(queue.push_background(String::new()));
        }
        assert!(!queue.push_background(String::new()));
    }

    #[test]
    fn what_nobody_wants_is_dropped() {
        let mut queue = queue(&[("a", 3), ("b", 2)]);
        queue.retain(|item| item != "a1" && !item.starts_with('b'));
        assert_eq!(queue.take(10), ["a0", "a2"]);
        assert!(queue.is_empty() && queue.turns.is_empty());
    }

    proptest! {
        #[test]
        fn the_place_in_the_queue_is_known_beforehand(
            lines in prop::collection::vec(0_usize..40, 1..6),
            newcomer in 0_usize..6,
            size in 1_usize..12,
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let lines: Vec<_> = names.into_iter().zip(lines).collect();
            let mut queue = queue(&lines);
            let foretold = queue.calls_before(&line(names[newcomer]), size);
            queue.push(&line(names[newcomer]), "new".to_owned());
            let mut calls = 0;
            while !queue.take(size).iter().any(|it| it == "new") {
                calls += 1;
            }
            // The lines that have had their turn are taken for ones that have not.
            prop_assert!(calls <= foretold && (foretold - calls) * size < size + names.len());
        }
    }
}

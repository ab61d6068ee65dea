//! The order in which items are dispatched: a fair queue.
//!
//! Each caller has a queue of its own, and one item is taken from each queue in turn. A caller with a
//! million items waits behind itself, and delays others by one item per round at most.
//!
//! Items without a caller, such as refreshes in the background, take the room that is left in a call, or a
//! tenth of it if there is none: they neither delay callers nor starve.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// The limit of background items.
const BACKGROUND_CAPACITY: usize = 1000;

/// The part of a call that is kept for background items.
const BACKGROUND_SHARE: usize = 10;

/// The client, or for revocations the request, that an item is dispatched for.
pub(crate) type Caller = Arc<str>;

/// The caller of a channel lookup: its lookups wait behind each other, not before those of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Requester<'a>(&'a str);

impl<'a> Requester<'a> {
    /// A person at the command line of this machine.
    pub const LOCAL: Self = Self("");

    /// The client with this id.
    pub const fn client(id: &'a str) -> Self {
        Self(id)
    }

    /// Returns the name of its queue.
    pub(crate) fn caller(self) -> Caller {
        self.0.into()
    }
}

/// Waiting items, in the order in which they will be taken.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// The queue of each caller, none of them empty.
    queues: HashMap<Caller, VecDeque<T>>,
    /// The callers, the next one first.
    turns: VecDeque<Caller>,
    background: VecDeque<T>,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> Self {
        Self { queues: HashMap::new(), turns: VecDeque::new(), background: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.background.is_empty()
    }

    /// Returns the number of items in all queues.
    pub(super) fn len(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum::<usize>() + self.background.len()
    }

    /// Appends the item to the caller's queue.
    pub(super) fn push(&mut self, caller: &Caller, item: T) {
        self.queue(caller).push_back(item);
    }

    /// Puts the item back at the head of the caller's queue.
    pub(super) fn put_back(&mut self, caller: &Caller, item: T) {
        self.queue(caller).push_front(item);
    }

    /// Appends a background item. Returns false if there is no room for it.
    pub(super) fn push_background(&mut self, item: T) -> bool {
        let has_room = self.background.len() < BACKGROUND_CAPACITY;
        if has_room {
            self.background.push_back(item);
        }
        has_room
    }

    /// Returns how many calls of up to `size` items go before the one that takes the caller's next item.
    pub(super) fn calls_before(&self, caller: &Caller, size: usize) -> usize {
        let own = self.queues.get(caller).map_or(0, VecDeque::len);
        let others = self.queues.iter().filter(|(other, _)| *other != caller);
        let ahead = own + others.map(|(_, queue)| queue.len().min(own + 1)).sum::<usize>();
        ahead / self.room_for_callers(size).max(1)
    }

    /// Takes at most `size` items, one from each queue in turn.
    pub(super) fn take(&mut self, size: usize) -> Vec<T> {
        let mut taken = Vec::new();
        while taken.len() < self.room_for_callers(size) {
            let Some(item) = self.take_from_next_queue() else { break };
            taken.push(item);
        }
        let left = size - taken.len();
        taken.extend(self.background.drain(..left.min(self.background.len())));
        while taken.len() < size {
            let Some(item) = self.take_from_next_queue() else { break };
            taken.push(item);
        }
        taken
    }

    /// Drops the items that are not wanted.
    pub(super) fn retain(&mut self, mut is_wanted: impl FnMut(&T) -> bool) {
        for queue in self.queues.values_mut() {
            queue.retain(&mut is_wanted);
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|caller| self.queues.contains_key(caller));
        self.background.retain(is_wanted);
    }

    fn queue(&mut self, caller: &Caller) -> &mut VecDeque<T> {
        if !self.queues.contains_key(caller) {
            self.turns.push_back(Arc::clone(caller));
        }
        self.queues.entry(Arc::clone(caller)).or_default()
    }

    /// Returns how many items of callers one call takes while background items wait.
    fn room_for_callers(&self, size: usize) -> usize {
        size - self.background.len().min(size / BACKGROUND_SHARE)
    }

    fn take_from_next_queue(&mut self) -> Option<T> {
        let caller = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&caller)?;
        let item = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(callers: &[(&str, usize)]) -> FairQueue<String> {
        let mut queue = FairQueue::new();
        for (name, items) in callers {
            for item in 0..*items {
                queue.push(&Caller::from(*name), format!("{name}{item}"));
            }
        }
        queue
    }

    #[test]
    fn callers_take_turns() {
        let mut queue = queue(&[("a", 100), ("b", 1), ("c", 2)]);
        assert_eq!(queue.take(5), ["a0", "b0", "c0", "a1", "c1"]);
        queue.push(&"b".into(), "b1".to_owned());
        assert_eq!(queue.take(3), ["a2", "b1", "a3"]);
        assert_eq!(queue.take(100).len(), 96);
        assert!(queue.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn item_that_is_put_back_comes_first_in_its_queue() {
        let mut queue = queue(&[("a", 2)]);
        let taken = queue.take(1).remove(0);
        queue.put_back(&"a".into(), taken);
        assert_eq!(queue.take(2), ["a0", "a1"]);
    }

    #[test]
    fn background_items_take_the_room_that_is_left_and_a_tenth() {
        let mut queue = queue(&[("a", 100)]);
        for item in 0..20 {
            assert!(queue.push_background(format!("x{item}")));
        }
        let background =
            |taken: &[String]| taken.iter().filter(|item| item.starts_with('x')).count();
        let taken = queue.take(50);
        assert_eq!((taken.len(), background(&taken)), (50, 5));
        assert_eq!(queue.take(1), ["a45"], "a call for one item is not shared");
        let taken = queue.take(100);
        assert_eq!((taken.len(), background(&taken)), (69, 15));
        for _ in 0..BACKGROUND_CAPACITY {
            assert!(queue.push_background(String::new()));
        }
        assert!(!queue.push_background(String::new()));
    }

    #[test]
    fn unwanted_items_are_dropped() {
        let mut queue = queue(&[("a", 3), ("b", 2)]);
        queue.retain(|item| item != "a1" && !item.starts_with('b'));
        assert_eq!(queue.take(10), ["a0", "a2"]);
        assert!(queue.is_empty() && queue.turns.is_empty());
    }

    proptest! {
        #[test]
        fn place_in_the_queue_is_known_beforehand(
            callers in prop::collection::vec(0_usize..40, 1..6),
            newcomer in 0_usize..6,
            size in 1_usize..12,
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let callers: Vec<_> = names.into_iter().zip(callers).collect();
            let mut queue = queue(&callers);
            let newcomer = Caller::from(names[newcomer]);
            let predicted = queue.calls_before(&newcomer, size);
            queue.push(&newcomer, "new".to_owned());
            let mut calls = 0;
            while !queue.take(size).iter().any(|item| item == "new") {
                calls += 1;
            }
            // Callers that have had their turn are counted as if they had not.
            prop_assert!(calls <= predicted && (predicted - calls) * size < size + names.len());
        }
    }
}

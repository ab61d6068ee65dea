//! One piece of work for all who wait for its outcome.
//!
//! Whoever asks first starts the work and gets a [`Landing`], which belongs to the work and not to
//! the asker: askers may leave without ending it for the others. When the landing is dropped
//! without an outcome, because the work panicked or was cancelled, those who wait are told.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// The work under way, by key. Cheap to clone.
#[derive(Debug)]
pub(super) struct Flights<K, T>(Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>);

/// Somebody's wait for an outcome.
#[derive(Debug)]
pub(super) struct Flight<T>(watch::Receiver<Option<T>>);

/// The duty to bring an outcome.
#[derive(Debug)]
pub(super) struct Landing<K: Eq + Hash, T> {
    flights: Flights<K, T>,
    key: K,
    outcome: watch::Sender<Option<T>>,
}

impl<K: Clone + Eq + Hash, T: Clone> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Joins the work under way for `key`, or starts it.
    pub(super) fn join(&self, key: &K, start: impl FnOnce(Landing<K, T>)) -> Flight<T> {
        let (outcome, flight) = match self.lock().entry(key.clone()) {
            Entry::Occupied(under_way) => return Flight(under_way.get().clone()),
            Entry::Vacant(vacant) => {
                let (outcome, flight) = watch::channel(None);
                vacant.insert(flight.clone());
                (outcome, flight)
            }
        };
        // Without the lock: `start` may land at once.
        start(Landing { flights: self.clone(), key: key.clone(), outcome });
        Flight(flight)
    }

    /// The work under way for `key`, if there is any.
    pub(super) fn under_way(&self, key: &K) -> Option<Flight<T>> {
        self.lock().get(key).cloned().map(Flight)
    }
}

impl<K: Eq + Hash, T> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<T>>>> {
        // A map is whole after every step that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Flight<T> {
    /// The outcome; nothing if the work ended without one.
    pub(super) async fn outcome(mut self) -> Option<T> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

impl<K: Eq + Hash, T> Landing<K, T> {
    /// Brings the outcome to all who wait. Who asks from now on starts anew.
    pub(super) fn land(self, outcome: T) {
        self.flights.lock().remove(&self.key);
        self.outcome.send_replace(Some(outcome));
    }
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        // After `land` the key may already be another's.
        if self.outcome.borrow().is_none() {
            self.flights.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_join_get_one_outcome() {
        let flights = Flights::new();
        let mut landing = None;
        let first = flights.join(&1, |started| landing = Some(started));
        let second = flights.join(&1, |_| panic!("the work is under way"));
        drop(first);
        let third = flights.join(&1, |_| panic!("the work outlives who started it"));
        landing.unwrap().land("here");
        assert_eq!(second.outcome().await, Some("here"));
        assert_eq!(third.outcome().await, Some("here"));
    }

    #[tokio::test]
    async fn after_landing_the_work_starts_anew() {
        let flights = Flights::new();
        let first = flights.join(&1, |landing| landing.land("one"));
        let second = flights.join(&1, |landing| landing.land("two"));
        assert_eq!((first.outcome().await, second.outcome().await), (Some("one"), Some("two")));
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn work_that_ends_without_an_outcome_is_told() {
        let flights: Flights<u8, ()> = Flights::new();
        let flight = flights.join(&1, drop);
        assert_eq!(flight.outcome().await, None);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn keys_do_not_share() {
        let flights = Flights::new();
        let mut landings = Vec::new();
        let one = flights.join(&1, |landing| landings.push(landing));
        let two = flights.join(&2, |landing| landings.push(landing));
        for (landing, outcome) in landings.into_iter().zip(["one", "two"]) {
            landing.land(outcome);
        }
        assert_eq!((one.outcome().await, two.outcome().await), (Some("one"), Some("two")));
    }
}

//! How many may be there at once, in all and for each address or person.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Places, in all and for each of many.
#[derive(Debug)]
pub(crate) struct Crowd<K: Copy + Eq + Hash> {
    inside: Arc<Inside<K>>,
}

#[derive(Debug)]
struct Inside<K> {
    most: usize,
    each: usize,
    taken: Mutex<(usize, HashMap<K, usize>)>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All are taken.
    Altogether,
    /// This one has as many as it may.
    ForThisOne,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Altogether => "this server has as many connections as it takes; try again later",
            Self::ForThisOne => "there are too many connections from this address; try again later",
        })
    }
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Copy + Eq + Hash> {
    inside: Arc<Inside<K>>,
    key: Option<K>,
}

impl<K: Copy + Eq + Hash> Clone for Crowd<K> {
    fn clone(&self) -> Self {
        Self { inside: self.inside.clone() }
    }
}

impl<K: Copy + Eq + Hash> Crowd<K> {
    /// Nobody is there yet.
    pub(crate) fn new(most: usize, each: usize) -> Self {
        Self { inside: Arc::new(Inside { most, each, taken: Mutex::default() }) }
    }

    /// Takes a place. Without a key it counts among all only.
    pub(crate) fn enter(&self, key: Option<K>) -> Result<Place<K>, Full> {
        let mut taken = self.inside.taken.lock();
        let (all, each) = &mut *taken;
        if *all >= self.inside.most {
            return Err(Full::Altogether);
        }
        if let Some(key) = key {
            let count = each.entry(key).or_default();
            if *count >= self.inside.each {
                return Err(Full::ForThisOne);
            }
            *count += 1;
        }
        *all += 1;
        Ok(Place { inside: self.inside.clone(), key })
    }
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.inside.taken.lock();
        let (all, each) = &mut *taken;
        *all -= 1;
        if let Some(key) = self.key
            && let Some(count) = each.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                each.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_for_each_and_given_back() {
        let crowd = Crowd::new(3, 2);
        let first = crowd.enter(Some('a')).unwrap();
        let second = crowd.enter(Some('a')).unwrap();
        assert_eq!(crowd.enter(Some('a')).unwrap_err(), Full::ForThisOne);
        let third = crowd.enter(Some('b')).unwrap();
        assert_eq!(crowd.enter(Some('c')).unwrap_err(), Full::Altogether);
        assert_eq!(crowd.enter(None).unwrap_err(), Full::Altogether);
        drop(first);
        let unnamed = crowd.enter(None).unwrap();
        drop((second, third, unnamed));
        let taken = crowd.inside.taken.lock();
        assert!(taken.0 == 0 && taken.1.is_empty(), "nothing is kept of who went");
    }
}

//! What one person may still ask for, remembered when they leave and when rooms close.
//!
//! Rates of a connection alone are renewed by connecting again. These go with the person, for each document.
//! The tables are bounded: who was quiet the longest is forgotten, and starts anew.

use std::collections::HashMap;
use std::hash::Hash;

use ensemble_protocol::id::{DocumentId, MemberId};
use ensemble_protocol::limits;
use parking_lot::Mutex;

use crate::rate::Bucket;

/// What one person may still do in one document.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Client ids to begin writing under.
    pub(crate) new_clients: Bucket,
    /// Client ids of others to bring back.
    pub(crate) given_back: Bucket,
    /// Units to insert once there were very many.
    pub(crate) units: Bucket,
    /// Bytes of updates to keep.
    pub(crate) bytes: Bucket,
    /// Work of updates and of large replies, which is known afterwards: there may be a debt.
    pub(crate) work: Bucket,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            new_clients: Bucket::new(limits::NEW_CLIENTS),
            given_back: Bucket::new(limits::GIVEN_BACK_CLIENTS),
            units: Bucket::new(limits::PERSON_UNITS_AFTER),
            bytes: Bucket::new(limits::PERSON_BYTES),
            work: Bucket::new(limits::PERSON_WORK),
        }
    }
}

impl Budget {
    /// Whether there is no debt of work.
    pub(crate) fn may_work(&mut self) -> bool {
        self.work.until(1.0).is_zero()
    }
}

/// What of somebody's refused updates may still be kept aside, and be said in the log.
#[derive(Debug)]
struct Aside {
    updates: Bucket,
    bytes: Bucket,
    /// Lines of the log. Its own bucket: whoever is refused for being too fast shall not use up what is kept aside.
    lines: Bucket,
    /// Refusals the log has not heard of.
    unsaid: u64,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            updates: Bucket::new(limits::REFUSED_UPDATES),
            bytes: Bucket::new(limits::REFUSED_BYTES),
            lines: Bucket::new(limits::REFUSED_UPDATES),
            unsaid: 0,
        }
    }
}

/// How much of a refused update is kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All of it.
    Whole,
    /// Its hash and why it was refused.
    Hash,
    /// Nothing: there are enough by this person.
    Nothing,
}

/// What everybody may still do.
#[derive(Debug, Default)]
pub(crate) struct People {
    budgets: Mutex<Table<(DocumentId, MemberId), Budget>>,
    asides: Mutex<Table<MemberId, Aside>>,
}

impl People {
    /// Looks at somebody's budget in a document, and takes from it.
    pub(crate) fn budget<T>(
        &self,
        document: DocumentId,
        member: MemberId,
        take: impl FnOnce(&mut Budget) -> T,
    ) -> T {
        take(self.budgets.lock().of((document, member)))
    }

    /// How much of a refused update by this person to keep aside, which is counted.
    pub(crate) fn keep_aside(&self, member: MemberId, size_bytes: usize) -> Keep {
        let mut asides = self.asides.lock();
        let aside = asides.of(member);
        if !aside.updates.take(1.0) {
            Keep::Nothing
        } else if aside.bytes.take(size_bytes as f64) {
            Keep::Whole
        } else {
            Keep::Hash
        }
    }

    /// Whether a refused update by this person is said in the log; else it is counted for [`Self::unsaid`].
    pub(crate) fn say_refused(&self, member: MemberId) -> bool {
        let mut asides = self.asides.lock();
        let aside = asides.of(member);
        let may = aside.lines.take(1.0);
        aside.unsaid += u64::from(!may);
        may
    }

    /// By whom updates were refused that the log has not heard of, and how many, since this was last asked.
    pub(crate) fn unsaid(&self) -> Vec<(MemberId, u64)> {
        let mut asides = self.asides.lock();
        let asides = &mut *asides;
        let everybody = asides.recent.iter_mut().chain(&mut asides.old);
        everybody
            .filter(|(_, aside)| aside.unsaid > 0)
            .map(|(member, aside)| (*member, std::mem::take(&mut aside.unsaid)))
            .collect()
    }
}

/// Entries of those seen since the last time there were too many, and of those seen before that.
#[derive(Debug)]
struct Table<K, V> {
    recent: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { recent: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V: Default> Table<K, V> {
    fn of(&mut self, key: K) -> &mut V {
        if !self.recent.contains_key(&key) && self.recent.len() >= limits::RATE_KEYS {
            self.old = std::mem::take(&mut self.recent);
        }
        let known = self.old.remove(&key);
        self.recent.entry(key).or_insert_with(|| known.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attacker_fills_no_disk_with_what_is_refused() {
        let (people, member) = (People::default(), MemberId::from_uuid(uuid::Uuid::from_u128(1)));
        let most = limits::REFUSED_BYTES.burst as usize;
        let kept = (0..100).map(|_| people.keep_aside(member, most / 2)).collect::<Vec<_>>();
        assert_eq!(kept.iter().filter(|keep| **keep == Keep::Whole).count(), 2);
        assert_eq!(kept.iter().filter(|keep| **keep == Keep::Hash).count(), 18);
        let other = MemberId::from_uuid(uuid::Uuid::from_u128(2));
        assert_eq!(people.keep_aside(other, most), Keep::Whole);
        tokio::time::advance(std::time::Duration::from_hours(1)).await;
        assert_eq!(people.keep_aside(member, most), Keep::Whole);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attacker_fills_no_log() {
        let (people, member) = (People::default(), MemberId::from_uuid(uuid::Uuid::from_u128(1)));
        assert_eq!((0..1000).filter(|_| people.say_refused(member)).count(), 20);
        assert_eq!(people.unsaid(), [(member, 980)]);
        assert_eq!(people.unsaid(), [], "said once");
        let other = MemberId::from_uuid(uuid::Uuid::from_u128(2));
        assert!(people.say_refused(other));
        assert_eq!(people.keep_aside(member, 1), Keep::Whole, "what is kept aside is counted by itself");
        tokio::time::advance(std::time::Duration::from_hours(1)).await;
        assert!(people.say_refused(member));
    }

    #[test]
    fn a_table_is_bounded_and_keeps_who_is_busy() {
        let mut table: Table<usize, usize> = Table::default();
        for key in 0..5 * limits::RATE_KEYS {
            *table.of(key) = key;
            *table.of(0) += 1;
        }
        assert!(table.recent.len() + table.old.len() <= 2 * limits::RATE_KEYS);
        assert_eq!(*table.of(0), 5 * limits::RATE_KEYS);
        assert_eq!(*table.of(1), 0, "who was quiet is forgotten");
    }
}

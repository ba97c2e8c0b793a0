//! Sets of units, kept as ranges.

use std::collections::{BTreeMap, HashMap};

use crate::anchor::UnitRange;

/// A set of units. Neighbouring ranges are one, so it grows with the gaps between them.
#[derive(Debug, Clone, Default)]
pub struct UnitSet {
    /// For each client, the first clock of each range and the clock after its last.
    clients: HashMap<u64, BTreeMap<u32, u32>>,
}

impl UnitSet {
    /// Puts units in.
    pub fn insert(&mut self, range: UnitRange) {
        if range.length == 0 {
            return;
        }
        let ranges = self.clients.entry(range.client).or_default();
        let (mut start, mut end) = (range.clock, range.end());
        while let Some((&first, &last)) = ranges.range(..=end).next_back()
            && last >= start
        {
            start = start.min(first);
            end = end.max(last);
            ranges.remove(&first);
        }
        ranges.insert(start, end);
    }

    /// Takes units out.
    pub fn remove(&mut self, range: UnitRange) {
        let Some(ranges) = self.clients.get_mut(&range.client) else { return };
        while let Some((&first, &last)) = ranges.range(..range.end()).next_back()
            && last > range.clock
        {
            ranges.remove(&first);
            if first < range.clock {
                ranges.insert(first, range.clock);
            }
            if last > range.end() {
                ranges.insert(range.end(), last);
            }
        }
        if ranges.is_empty() {
            self.clients.remove(&range.client);
        }
    }

    /// The parts of a range that are in the set, in order.
    pub fn common(&self, range: UnitRange) -> Vec<UnitRange> {
        let Some(ranges) = self.clients.get(&range.client) else { return Vec::new() };
        let start = ranges.range(..=range.clock).next_back().map_or(range.clock, |(first, _)| *first);
        ranges
            .range(start..range.end().max(start))
            .filter_map(|(first, last)| {
                let (from, to) = ((*first).max(range.clock), (*last).min(range.end()));
                (from < to).then(|| UnitRange { client: range.client, clock: from, length: to - from })
            })
            .collect()
    }

    /// The parts of a range that are not in the set, in order.
    pub fn lacking(&self, range: UnitRange) -> Vec<UnitRange> {
        let mut parts = Vec::new();
        let mut from = range.clock;
        for held in self.common(range) {
            if held.clock > from {
                parts.push(UnitRange { client: range.client, clock: from, length: held.clock - from });
            }
            from = held.end();
        }
        if from < range.end() {
            parts.push(UnitRange { client: range.client, clock: from, length: range.end() - from });
        }
        parts
    }

    /// Whether some of a range is in the set.
    pub fn touches(&self, range: UnitRange) -> bool {
        !self.common(range).is_empty()
    }

    /// All ranges: those of a client in order, the clients in any.
    pub fn ranges(&self) -> impl Iterator<Item = UnitRange> + '_ {
        self.clients.iter().flat_map(|(client, ranges)| {
            ranges.iter().map(|(first, last)| UnitRange {
                client: *client,
                clock: *first,
                length: last - first,
            })
        })
    }
}

impl FromIterator<UnitRange> for UnitSet {
    fn from_iter<I: IntoIterator<Item = UnitRange>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn range(client: u64, clock: u32, length: u32) -> UnitRange {
        UnitRange { client, clock, length }
    }

    #[test]
    fn neighbouring_ranges_are_one() {
        let set: UnitSet =
            [range(1, 0, 2), range(1, 4, 2), range(1, 2, 2), range(2, 3, 1)].into_iter().collect();
        assert_eq!(set.common(range(1, 0, 100)), [range(1, 0, 6)]);
        assert_eq!(set.common(range(2, 0, 100)), [range(2, 3, 1)]);
        assert_eq!(set.ranges().count(), 2);
    }

    #[test]
    fn a_set_of_ranges_is_a_set_of_units() {
        let mut state = 7_u32;
        let mut below = |limit: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % limit
        };
        for _ in 0..200 {
            let (mut set, mut units) = (UnitSet::default(), BTreeSet::new());
            for _ in 0..30 {
                let one = range(u64::from(below(2)), below(40), below(9));
                let of =
                    |range: UnitRange| (range.clock..range.end()).map(move |clock| (range.client, clock));
                if below(3) == 0 {
                    set.remove(one);
                    units.retain(|unit| !of(one).any(|gone| gone == *unit));
                } else {
                    set.insert(one);
                    units.extend(of(one));
                }
                let asked = range(u64::from(below(2)), below(40), below(20));
                let common: Vec<_> = set.common(asked).into_iter().flat_map(of).collect();
                let lacking: Vec<_> = set.lacking(asked).into_iter().flat_map(of).collect();
                assert_eq!(common, of(asked).filter(|unit| units.contains(unit)).collect::<Vec<_>>());
                assert_eq!(lacking, of(asked).filter(|unit| !units.contains(unit)).collect::<Vec<_>>());
                assert_eq!(set.touches(asked), !common.is_empty());
                let all: BTreeSet<_> = set.ranges().flat_map(of).collect();
                assert_eq!(all, units);
            }
        }
    }
}

//! Where every unit of a document is: all items in order, deleted ones included.
//!
//! The index places items exactly as Yjs does (the YATA rules, Nicolaescu et al., "Near Real-Time Peer-to-Peer
//! Shared Editing on Extensible Data Types", 2016, in the form of `Item.integrate` in yjs 13), so that its
//! order is the text's order at every replica. It answers in logarithmic time where a unit is and which unit is
//! at a place, which yrs only finds by walking. Admission, the server's own edits, attribution and the ledger
//! share it.
//!
//! Runs of consecutive units of one client stand in one node. Nodes form a treap (Seidel and Aragon, 1996)
//! with parent links, over an arena; a run takes 72 bytes and an entry in its client's map.
//!
//! Places count deleted units too, in 64 bits: what was ever inserted has no limit, since a run that is gone takes
//! the same room however long it is. Only visible units are bounded.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::anchor::{Anchor, BaseRun, Unit, UnitRange};

mod tree;

/// No node.
const NIL: u32 = u32::MAX;

/// A unit whose client is a small number of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    client: u32,
    clock: u32,
}

#[derive(Debug, Clone)]
struct Node {
    id: Id,
    length: u32,
    deleted: bool,
    origin: Option<Id>,
    right_origin: Option<Id>,
    left: u32,
    right: u32,
    parent: u32,
    priority: u32,
    /// Visible units in this subtree.
    visible: u32,
    /// All units in this subtree.
    total: u64,
}

impl Node {
    fn own_visible(&self) -> u32 {
        if self.deleted { 0 } else { self.length }
    }

    fn end(&self) -> u32 {
        self.id.clock + self.length
    }

    fn last(&self) -> Id {
        Id { client: self.id.client, clock: self.end() - 1 }
    }
}

#[derive(Debug, Clone, Default)]
struct Client {
    id: u64,
    /// The clock its next unit will have.
    next: u32,
    /// First clock of each run, and its node.
    runs: BTreeMap<u32, u32>,
}

/// The order of a document's units.
#[derive(Debug, Clone)]
pub struct Index {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    clients: Vec<Client>,
    numbers: HashMap<u64, u32>,
    seed: u32,
}

impl Default for Index {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a block cannot have been made by typing into this document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// Its left neighbour does not stand before its right one.
    #[error("its neighbours are in the wrong order")]
    Order,
    /// When its right neighbour was inserted, its left one was not yet to the left of that.
    #[error("its right neighbour was inserted right of something after its left one")]
    RightNeighbour,
    /// When its left neighbour was inserted, its right one was not yet to the right of that.
    #[error("its left neighbour was inserted left of something before its right one")]
    LeftNeighbour,
    /// Its own client had already inserted something between the two.
    #[error("its client had inserted something between its neighbours")]
    OwnUnit,
}

/// A stretch of units that are together in the document and were treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The units.
    pub units: UnitRange,
    /// Visible units before it.
    pub offset: u32,
}

impl Index {
    /// The index of an empty document.
    pub fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NIL,
            clients: Vec::new(),
            numbers: HashMap::new(),
            // Any odd number: priorities only need to be independent of the order of insertion.
            seed: 0x9e37_79b9,
        }
    }

    /// Visible units.
    pub fn len(&self) -> u32 {
        self.visible_of(self.root)
    }

    /// Whether nothing is visible.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs in the index: what its memory grows with.
    pub fn runs(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The clock the next unit of this client will have: 0 for one never seen.
    pub fn next_clock(&self, client: u64) -> u32 {
        self.numbers.get(&client).map_or(0, |number| self.clients[*number as usize].next)
    }

    /// Whether this unit has been inserted.
    pub fn knows(&self, unit: Unit) -> bool {
        unit.clock < self.next_clock(unit.client)
    }

    /// Every client with the clock of its next unit.
    pub fn clocks(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.clients.iter().map(|client| (client.id, client.next))
    }

    /// Whether a block can have been made by typing into this document, and how many runs were looked at to
    /// tell: at most one more than `most`, and then it is not told. Its origins must be known.
    ///
    /// Well-formed blocks that no editor makes can be placed differently when the document is loaded again.
    /// Their neighbours, L and R, give them away: L stands before R, what R was inserted after is not after L,
    /// what L was inserted before is not before R, and nothing earlier of the same client stands between.
    pub fn check(
        &self,
        units: UnitRange,
        origin: Option<Unit>,
        right: Option<Unit>,
        most: u32,
    ) -> Result<u32, Impossible> {
        let origin = origin.map(|unit| self.known_id(unit));
        let right = right.map(|unit| self.known_id(unit));
        // Places count units: L ends where R may start.
        let start = origin.map_or(0, |id| self.place_of(id) + 1);
        let end = right.map_or_else(|| self.total_of(self.root), |id| self.place_of(id));
        if start > end {
            return Err(Impossible::Order);
        }
        if start == end {
            // Nothing between them, so nothing that could contradict: ordinary typing.
            return Ok(0);
        }
        if let Some(right) = right {
            let node = &self.nodes[self.node_of(right) as usize];
            let before =
                if right == node.id { node.origin } else { Some(Id { clock: right.clock - 1, ..right }) };
            if before.is_some_and(|id| self.place_of(id) + 1 > start) {
                return Err(Impossible::RightNeighbour);
            }
        }
        if let Some(origin) = origin {
            let after = self.nodes[self.node_of(origin) as usize].right_origin;
            if after.is_some_and(|id| self.place_of(id) < end) {
                return Err(Impossible::LeftNeighbour);
            }
        }
        let Some(client) = self.numbers.get(&units.client).copied() else { return Ok(0) };
        // What its client inserted before L is not between L and what L was inserted before, and so not before
        // R; the same holds for R the other way round. So only what came after both can stand between them.
        // There is nothing of the kind while somebody types on, however much others put at the same place.
        let own = |id: &Id| id.client == client;
        let since =
            [origin.filter(own), right.filter(own)].into_iter().flatten().map(|id| id.clock + 1).max();
        let since = since.unwrap_or(0);
        let mut own_runs = self.nodes_of(client, since, units.clock);
        let mut at = origin.map_or_else(|| self.first(), |id| self.next(self.node_of(id)));
        let last = right.map_or(NIL, |id| self.node_of(id));
        // Either all own runs since, or all runs between: whichever are fewer.
        let mut seen = 0;
        while seen <= most {
            let Some(run) = own_runs.next().map(|node| &self.nodes[node as usize]) else { break };
            let first = run.id.clock.max(since);
            let place = self.place_of(Id { client, clock: first });
            if place < end && place + u64::from(run.end() - first) > start {
                return Err(Impossible::OwnUnit);
            }
            if at == NIL || at == last {
                break;
            }
            if own(&self.nodes[at as usize].id) {
                return Err(Impossible::OwnUnit);
            }
            at = self.next(at);
            seen += 1;
        }
        Ok(seen)
    }

    /// Inserts a block where Yjs would. Its origins must be known and its clock be the client's next.
    pub fn insert(&mut self, units: UnitRange, origin: Option<Unit>, right: Option<Unit>, deleted: bool) {
        self.insert_within(units, origin, right, deleted, u32::MAX);
    }

    /// Inserts a block and gives how many runs it was compared with and cut: the work of placing it, here as in Yjs.
    ///
    /// More than `most` means that it gave up and that this index has to be made again.
    pub fn insert_within(
        &mut self,
        units: UnitRange,
        origin: Option<Unit>,
        right: Option<Unit>,
        deleted: bool,
        most: u32,
    ) -> u32 {
        debug_assert_eq!(units.clock, self.next_clock(units.client), "blocks come without gaps");
        let client = self.number(units.client);
        let origin = origin.map(|unit| self.known_id(unit));
        let right_origin = right.map(|unit| self.known_id(unit));
        let id = Id { client, clock: units.clock };
        self.clients[client as usize].next = units.end();

        let before = self.runs();
        let mut left = origin.map_or(NIL, |id| self.node_ending_with(id));
        let right = right_origin.map_or(NIL, |id| self.node_starting_with(id));
        let mut passed = (self.runs() - before) as u32;
        let mut other = if left == NIL { self.first() } else { self.next(left) };

        if other != right {
            // Items stand between the two: concurrent insertions at the same place. `Item.integrate` in yjs.
            let mut conflicting = HashSet::new();
            let mut before = HashSet::new();
            while other != NIL && other != right {
                if passed >= most {
                    return most.saturating_add(1);
                }
                passed += 1;
                before.insert(other);
                conflicting.insert(other);
                let (theirs, their_right) =
                    (self.nodes[other as usize].origin, self.nodes[other as usize].right_origin);
                if theirs == origin {
                    if self.clients[self.nodes[other as usize].id.client as usize].id < units.client {
                        left = other;
                        conflicting.clear();
                    } else if their_right == right_origin {
                        break;
                    }
                } else if let Some(theirs) = theirs {
                    let holder = self.node_of(theirs);
                    if !before.contains(&holder) {
                        break;
                    }
                    if !conflicting.contains(&holder) {
                        left = other;
                        conflicting.clear();
                    }
                } else {
                    break;
                }
                other = self.next(other);
            }
        }

        // Typing on: the run grows, nothing else changes.
        if left != NIL {
            let node = &self.nodes[left as usize];
            if node.deleted == deleted
                && node.id.client == client
                && node.end() == units.clock
                && origin == Some(node.last())
                && node.right_origin == right_origin
            {
                self.nodes[left as usize].length += units.length;
                self.refresh_up(left);
                return passed;
            }
        }
        let node = self.allocate(Node {
            id,
            length: units.length,
            deleted,
            origin,
            right_origin,
            left: NIL,
            right: NIL,
            parent: NIL,
            priority: 0,
            visible: 0,
            total: 0,
        });
        self.link_after(left, node);
        self.clients[client as usize].runs.insert(id.clock, node);
        self.join_with_next(node);
        passed
    }

    /// Marks units as deleted. Gives the stretches that were visible until now, in the order of `units`,
    /// with the offsets they had before this call.
    pub fn delete(&mut self, units: UnitRange) -> Vec<Stretch> {
        let mut deleted = Vec::new();
        let mut gone = 0;
        for stretch in self.visible_stretches(units) {
            let client = self.numbers[&stretch.units.client];
            let node = self.node_starting_with(Id { client, clock: stretch.units.clock });
            let last = Id { client, clock: stretch.units.end() - 1 };
            self.node_ending_with(last);
            debug_assert_eq!(self.nodes[node as usize].length, stretch.units.length, "cut at both ends");
            self.nodes[node as usize].deleted = true;
            self.refresh_up(node);
            gone += stretch.units.length;
            deleted.push(stretch);
            let node = self.join_with_previous(node);
            self.join_with_next(node);
        }
        debug_assert!(gone <= units.length);
        deleted
    }

    /// The parts of `units` that are visible, each with its offset, in the order of their clocks.
    pub fn visible_stretches(&self, units: UnitRange) -> Vec<Stretch> {
        let mut found = Vec::new();
        let Some(client) = self.numbers.get(&units.client) else { return found };
        for node in self.nodes_of(*client, units.clock, units.end()) {
            let run = &self.nodes[node as usize];
            if run.deleted {
                continue;
            }
            let from = run.id.clock.max(units.clock);
            let to = run.end().min(units.end());
            found.push(Stretch {
                units: UnitRange { client: units.client, clock: from, length: to - from },
                offset: self.offset_of(node) + (from - run.id.clock),
            });
        }
        found
    }

    /// The parts of `units` that are known and deleted.
    pub fn deleted_stretches(&self, units: UnitRange) -> Vec<UnitRange> {
        let Some(client) = self.numbers.get(&units.client) else { return Vec::new() };
        self.nodes_of(*client, units.clock, units.end())
            .map(|node| &self.nodes[node as usize])
            .filter(|run| run.deleted)
            .map(|run| {
                let from = run.id.clock.max(units.clock);
                UnitRange { client: units.client, clock: from, length: run.end().min(units.end()) - from }
            })
            .collect()
    }

    /// The parts of `units` that stand together, deleted or not, each with the number of units before it, deleted
    /// ones included.
    pub fn placed(&self, units: UnitRange) -> Vec<(UnitRange, u64)> {
        let Some(client) = self.numbers.get(&units.client) else { return Vec::new() };
        self.nodes_of(*client, units.clock, units.end())
            .map(|node| {
                let run = &self.nodes[node as usize];
                let from = run.id.clock.max(units.clock);
                let length = run.end().min(units.end()) - from;
                let place = self.place_of(Id { client: *client, clock: from });
                (UnitRange { client: units.client, clock: from, length }, place)
            })
            .collect()
    }

    /// Whether something of `units` is visible.
    pub fn any_visible(&self, units: UnitRange) -> bool {
        let Some(client) = self.numbers.get(&units.client) else { return false };
        self.nodes_of(*client, units.clock, units.end()).any(|node| !self.nodes[node as usize].deleted)
    }

    /// The neighbours an insertion at this place has: the unit before and the unit after, deleted or not.
    /// A unit that is not known gives `None`.
    pub fn neighbours(&self, at: Anchor) -> Option<(Option<Unit>, Option<Unit>)> {
        match at {
            Anchor::Start => {
                let first = self.first();
                Some((None, (first != NIL).then(|| self.unit(self.nodes[first as usize].id))))
            }
            Anchor::After(unit) => {
                if !self.knows(unit) {
                    return None;
                }
                let id = Id { client: self.numbers[&unit.client], clock: unit.clock };
                let node = self.node_of(id);
                let right = if id.clock + 1 < self.nodes[node as usize].end() {
                    Some(Unit { client: unit.client, clock: unit.clock + 1 })
                } else {
                    let next = self.next(node);
                    (next != NIL).then(|| self.unit(self.nodes[next as usize].id))
                };
                Some((Some(unit), right))
            }
        }
    }

    /// Visible units before this place; `None` for a unit that is not known.
    pub fn offset(&self, at: Anchor) -> Option<u32> {
        match at {
            Anchor::Start => Some(0),
            Anchor::After(unit) => {
                if !self.knows(unit) {
                    return None;
                }
                let id = Id { client: self.numbers[&unit.client], clock: unit.clock };
                let node = self.node_of(id);
                let run = &self.nodes[node as usize];
                let within = if run.deleted { 0 } else { id.clock - run.id.clock + 1 };
                Some(self.offset_of(node) + within)
            }
        }
    }

    /// The place right after the visible unit before this offset; past the end is after the last one.
    pub fn anchor(&self, offset: u32) -> Anchor {
        if offset == 0 || self.root == NIL {
            return Anchor::Start;
        }
        let mut rest = offset.min(self.len());
        if rest == 0 {
            return Anchor::Start;
        }
        let mut at = self.root;
        loop {
            let node = &self.nodes[at as usize];
            let left = self.visible_of(node.left);
            if rest <= left {
                at = node.left;
            } else if rest - left <= node.own_visible() {
                let clock = node.id.clock + (rest - left) - 1;
                return Anchor::After(self.unit(Id { client: node.id.client, clock }));
            } else {
                rest -= left + node.own_visible();
                at = node.right;
            }
        }
    }

    /// All visible units in order, those consecutive in their client together.
    pub fn visible_runs(&self) -> Vec<BaseRun> {
        let mut runs: Vec<BaseRun> = Vec::new();
        let mut offset = 0;
        let mut at = self.first();
        while at != NIL {
            let node = &self.nodes[at as usize];
            if !node.deleted {
                let client = self.clients[node.id.client as usize].id;
                match runs.last_mut() {
                    Some(last) if last.units.client == client && last.units.end() == node.id.clock => {
                        last.units.length += node.length;
                    }
                    _ => runs.push(BaseRun {
                        offset,
                        units: UnitRange { client, clock: node.id.clock, length: node.length },
                    }),
                }
                offset += node.length;
            }
            at = self.next(at);
        }
        runs
    }

    fn number(&mut self, client: u64) -> u32 {
        *self.numbers.entry(client).or_insert_with(|| {
            self.clients.push(Client { id: client, next: 0, runs: BTreeMap::new() });
            (self.clients.len() - 1) as u32
        })
    }

    fn known_id(&self, unit: Unit) -> Id {
        let client = *self.numbers.get(&unit.client).expect("admission let only known origins pass");
        Id { client, clock: unit.clock }
    }

    fn unit(&self, id: Id) -> Unit {
        Unit { client: self.clients[id.client as usize].id, clock: id.clock }
    }

    /// The nodes that hold units `from..to` of a client.
    fn nodes_of(&self, client: u32, from: u32, to: u32) -> impl Iterator<Item = u32> + '_ {
        let runs = &self.clients[client as usize].runs;
        let start = runs.range(..=from).next_back().map_or(from, |(clock, _)| *clock);
        runs.range(start..to.max(start)).map(|(_, node)| *node).filter(move |node| {
            let run = &self.nodes[*node as usize];
            run.end() > from && run.id.clock < to
        })
    }

    fn node_of(&self, id: Id) -> u32 {
        let runs = &self.clients[id.client as usize].runs;
        let (_, node) = runs.range(..=id.clock).next_back().expect("the unit is known");
        *node
    }

    /// Cuts so that a run starts with this unit, and gives that run.
    fn node_starting_with(&mut self, id: Id) -> u32 {
        let node = self.node_of(id);
        let offset = id.clock - self.nodes[node as usize].id.clock;
        if offset == 0 { node } else { self.split(node, offset) }
    }

    /// Cuts so that a run ends with this unit, and gives that run.
    fn node_ending_with(&mut self, id: Id) -> u32 {
        let node = self.node_of(id);
        let length = id.clock + 1 - self.nodes[node as usize].id.clock;
        if length < self.nodes[node as usize].length {
            self.split(node, length);
        }
        node
    }

    /// Cuts a run after `length` units and gives its second part.
    fn split(&mut self, node: u32, length: u32) -> u32 {
        let first = &mut self.nodes[node as usize];
        let rest = Node {
            id: Id { client: first.id.client, clock: first.id.clock + length },
            length: first.length - length,
            deleted: first.deleted,
            origin: Some(Id { client: first.id.client, clock: first.id.clock + length - 1 }),
            right_origin: first.right_origin,
            left: NIL,
            right: NIL,
            parent: NIL,
            priority: 0,
            visible: 0,
            total: 0,
        };
        first.length = length;
        let id = rest.id;
        let second = self.allocate(rest);
        self.refresh_up(node);
        self.link_after(node, second);
        self.clients[id.client as usize].runs.insert(id.clock, second);
        second
    }

    /// Joins a run with the one after it where they are one; the run stays.
    fn join_with_next(&mut self, node: u32) {
        let next = self.next(node);
        if next != NIL && self.are_one(node, next) {
            let length = self.nodes[next as usize].length;
            let id = self.nodes[next as usize].id;
            self.unlink(next);
            self.clients[id.client as usize].runs.remove(&id.clock);
            self.free.push(next);
            self.nodes[node as usize].length += length;
            self.refresh_up(node);
        }
    }

    /// Joins a run with the one before it where they are one, and gives the run that holds it now.
    fn join_with_previous(&mut self, node: u32) -> u32 {
        let previous = self.previous(node);
        if previous != NIL && self.are_one(previous, node) {
            self.join_with_next(previous);
            return previous;
        }
        node
    }

    fn are_one(&self, first: u32, second: u32) -> bool {
        let (first, second) = (&self.nodes[first as usize], &self.nodes[second as usize]);
        first.id.client == second.id.client
            && first.end() == second.id.clock
            && first.deleted == second.deleted
            && second.origin == Some(first.last())
            && first.right_origin == second.right_origin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(client: u64, clock: u32, length: u32) -> UnitRange {
        UnitRange { client, clock, length }
    }

    fn unit(client: u64, clock: u32) -> Unit {
        Unit { client, clock }
    }

    #[test]
    fn typing_on_stays_one_run() {
        let mut index = Index::new();
        index.insert(range(1, 0, 1), None, None, false);
        for clock in 1..1000 {
            index.insert(range(1, clock, 1), Some(unit(1, clock - 1)), None, false);
        }
        assert_eq!((index.runs(), index.len(), index.next_clock(1)), (1, 1000, 1000));
        assert_eq!(index.anchor(500), Anchor::After(unit(1, 499)));
        assert_eq!(index.offset(Anchor::After(unit(1, 499))), Some(500));
    }

    #[test]
    fn deleting_in_the_middle_keeps_the_places() {
        let mut index = Index::new();
        index.insert(range(1, 0, 6), None, None, false);
        let gone = index.delete(range(1, 2, 2));
        assert_eq!(gone, [Stretch { units: range(1, 2, 2), offset: 2 }]);
        assert_eq!((index.len(), index.runs()), (4, 3));
        assert_eq!(index.offset(Anchor::After(unit(1, 3))), Some(2));
        assert_eq!(index.neighbours(Anchor::After(unit(1, 1))), Some((Some(unit(1, 1)), Some(unit(1, 2)))));
        assert!(index.delete(range(1, 2, 2)).is_empty(), "twice is once");
        index.delete(range(1, 0, 6));
        assert_eq!((index.len(), index.runs()), (0, 1), "what is one again is joined");
    }

    #[test]
    fn concurrent_insertions_at_one_place_are_ordered_by_client() {
        for clients in [[1, 2], [2, 1]] {
            let mut index = Index::new();
            for client in clients {
                index.insert(range(client, 0, 2), None, None, false);
            }
            let order: Vec<u64> = index.visible_runs().iter().map(|run| run.units.client).collect();
            assert_eq!(order, [1, 2]);
        }
    }

    /// The short way to tell whether an own unit stands between the neighbours is as good as looking at all.
    #[test]
    fn no_own_unit_between_is_told_as_by_looking_at_all() {
        let (mut possible, mut own_between) = (0, 0);
        for seed in 1..200_u32 {
            let mut state = seed;
            let mut below = |limit: u32| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state % limit
            };
            let mut index = Index::new();
            for _ in 0..60 {
                let client = u64::from(below(3));
                let mut neighbour = || {
                    let other = u64::from(below(3));
                    let next = index.next_clock(other);
                    (next > 0 && below(8) > 0).then(|| unit(other, below(next)))
                };
                let (origin, right) = (neighbour(), neighbour());
                let units = range(client, index.next_clock(client), 1 + below(3));
                let checked = index.check(units, origin, right, u32::MAX);
                if matches!(checked, Ok(_) | Err(Impossible::OwnUnit)) {
                    let place = |unit: Unit| index.place_of(index.known_id(unit));
                    let start = origin.map_or(0, |unit| place(unit) + 1);
                    let end = right.map_or(u64::MAX, place);
                    let between = |clock| (start..end).contains(&place(unit(client, clock)));
                    assert_eq!(checked.is_err(), (0..units.clock).any(between), "seed {seed}");
                    own_between += u32::from(checked.is_err());
                }
                if checked.is_ok() {
                    possible += 1;
                    index.insert(units, origin, right, below(4) == 0);
                }
            }
        }
        assert!(possible > 1000 && own_between > 100, "{possible} and {own_between} say too little");
    }
}

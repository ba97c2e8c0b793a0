//! The strict check an update passes before it reaches yrs.
//!
//! Client bytes that yrs would choke on, or that mean something no Yjs client means, end here. The grammar is
//! [`crate::update`]'s; this file holds the rules about state: nothing refers to what is not known, nothing is
//! inserted twice, nobody writes under an id that is not theirs. Blocks of one client may depend on blocks of
//! another that stand further back in the bytes: they are put into order with wait lists keyed by the awaited
//! client, which is linear where scanning again would be quadratic for a hostile frame.
//!
//! What depends on something not yet here is *held* when it came as an Update, since an honest client may send
//! one before its reply to a step 1. Of a reply the largest admissible part is taken: an honest client that
//! itself waits for something answers with holes. [`admit`] decides and changes nothing; applying what it
//! admitted cannot fail.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use ensemble_protocol::lib0::DecodeError;
use ensemble_protocol::limits;

use crate::anchor::{Unit, UnitRange};
use crate::index::{Impossible, Index};
use crate::update::{Block, Content, Group, Update, normalise};

/// How an update came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// As an Update: all of it or nothing.
    Update,
    /// In reply to a step 1: as much of it as is admissible.
    Step2,
}

/// Whether a sender may write under a client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// It is theirs, or nobody's yet.
    Own,
    /// It is another person's.
    Foreign,
    /// It may be another person's, whose text the server lost in a crash: somebody who has it gives it back in
    /// a reply. An update that has such text waits for that reply.
    GivenBack,
    /// It is the server's or an agent's: nobody may.
    Reserved,
}

/// Why an update is refused for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not an update of a text document.
    #[error("it is not an update of a text document: {0}")]
    Malformed(#[from] DecodeError),
    /// It writes under an id of the server or of an agent.
    #[error("client id {0} is reserved")]
    ReservedClient(u64),
    /// It writes under an id of somebody else.
    #[error("client id {0} belongs to somebody else")]
    ForeignClient(u64),
    /// An item names itself or something later of its own client as a neighbour.
    #[error("an item of client {0} depends on itself")]
    SelfReference(u64),
    /// An item that no editor can have made: it would stand elsewhere after the document was loaded again.
    #[error("an item stands where none can have been typed: {0}")]
    Impossible(#[from] Impossible),
    /// Placing its items, or taking out what it deletes, takes more work than an update may ask for.
    #[error("it means passing or cutting more than {0} runs")]
    TooMuchWork(u32),
    /// What it depends on did not come in reply to a step 1 either.
    #[error("it depends on something nobody has")]
    Gap,
    /// The same bytes made the room die before.
    #[error("the same update made the document fail before")]
    Suspect,
    /// More than a peer may ask for in a while.
    #[error("too much in too short a time")]
    TooOften,
    /// More is held for this peer than may be.
    #[error("too much waits for something that does not come")]
    HeldTooMuch,
    /// The document would grow over its limit.
    #[error("the document would grow over {0} UTF-16 units")]
    DocumentTooLarge(u64),
    /// A person who has inserted very much goes on faster than anybody types.
    #[error("one person has inserted {0} units here and can only go on as fast as people type")]
    TooManyUnits(u64),
    /// More new client ids than one person makes in a while.
    #[error("too many new client ids in too short a time")]
    TooManyClients,
    /// A place that an edit of ours names does not exist.
    #[error("the edit names a place that does not exist")]
    UnknownPlace,
}

impl Refusal {
    /// Whether the bytes themselves are what is wrong, and worth a look later: not that there were too many.
    pub fn is_of_the_bytes(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::ReservedClient(_)
            | Self::ForeignClient(_)
            | Self::SelfReference(_)
            | Self::Impossible(_)
            | Self::TooMuchWork(_)
            | Self::Gap
            | Self::Suspect => true,
            Self::TooOften
            | Self::TooManyClients
            | Self::TooManyUnits(_)
            | Self::HeldTooMuch
            | Self::DocumentTooLarge(_)
            | Self::UnknownPlace => false,
        }
    }
}

/// What to do with an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Everything in it is known: acknowledge it.
    Nothing,
    /// Log it, apply it, tell the others.
    Admit(Admitted<'a>),
    /// It depends on something not yet here: ask for that, then look again.
    Hold,
    /// It never can be admitted.
    Refuse(Refusal),
}

/// What was admitted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted<'a> {
    /// New blocks, in an order in which each depends only on earlier ones.
    pub blocks: Vec<Block<'a>>,
    /// Deletions of known units.
    pub deletes: Vec<UnitRange>,
    /// Whether this is all that was sent, so that the sender's own bytes stand for it.
    pub whole: bool,
    /// Whether a part of a reply had to be left out because it depends on something not here.
    pub left_out: bool,
}

impl<'a> Admitted<'a> {
    /// The bytes that are logged and relayed: the sender's own where all of it is new.
    pub fn bytes(&self, sent: &bytes::Bytes) -> bytes::Bytes {
        if self.whole { sent.clone() } else { self.encode().into() }
    }

    /// Encodes what was admitted.
    pub fn encode(&self) -> Vec<u8> {
        let mut by_client: HashMap<u64, Vec<Block<'a>>> = HashMap::new();
        for block in &self.blocks {
            by_client.entry(block.units.client).or_default().push(block.clone());
        }
        let mut groups: Vec<Group<'a>> =
            by_client.into_iter().map(|(client, blocks)| Group { client, blocks }).collect();
        groups.sort_unstable_by_key(|group| Reverse(group.client));
        Update { groups, deletes: normalise(self.deletes.clone()) }.write()
    }

    /// For each client it writes under, the first new clock and the one after the last.
    pub fn advances(&self) -> Vec<(u64, u32, u32)> {
        let mut advances: Vec<(u64, u32, u32)> = Vec::new();
        // A hostile update may have a client for every ten bytes.
        let mut places: HashMap<u64, usize> = HashMap::new();
        for block in &self.blocks {
            let UnitRange { client, clock, .. } = block.units;
            let place = *places.entry(client).or_insert(advances.len());
            match advances.get_mut(place) {
                Some(advance) => advance.2 = block.units.end(),
                None => advances.push((client, clock, block.units.end())),
            }
        }
        advances
    }
}

/// Decides about an update, given the document as it is and whose ids are whose.
pub fn admit<'a>(
    index: &Index,
    update: &Update<'a>,
    route: Route,
    right: impl Fn(u64) -> Right,
) -> Verdict<'a> {
    match decide(index, update, route, right) {
        Verdict::Admit(admitted) if grows_too_large(index, &admitted) => {
            Verdict::Refuse(Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS))
        }
        verdict => verdict,
    }
}

/// Decides about an update that was admitted before and is stored: a limit that was lowered since does not make
/// it unreadable.
pub fn admit_stored<'a>(index: &Index, update: &Update<'a>) -> Verdict<'a> {
    decide(index, update, Route::Update, |_| Right::Own)
}

/// Whether more text would be visible than a document may have, and more than before.
pub(crate) fn grows_too_large(index: &Index, admitted: &Admitted<'_>) -> bool {
    let texts = || admitted.blocks.iter().filter(|block| matches!(block.content, Content::Text(_)));
    let inserted: u64 = texts().map(|block| u64::from(block.units.length)).sum();
    let before = u64::from(index.len());
    if inserted == 0 || before + inserted <= limits::DOCUMENT_UNITS {
        return false;
    }
    // Close to the limit it matters what goes at the same time: all of the text replaced is not twice the text.
    let gone: u64 = admitted
        .deletes
        .iter()
        .flat_map(|range| index.visible_stretches(*range))
        .map(|stretch| u64::from(stretch.units.length))
        .sum();
    let mut deletes: HashMap<u64, Vec<UnitRange>> = HashMap::new();
    for range in &admitted.deletes {
        deletes.entry(range.client).or_default().push(*range);
    }
    let stillborn: u64 = texts()
        .map(|block| {
            // Ascending and apart within a client.
            let ranges = deletes.get(&block.units.client).map_or(&[][..], Vec::as_slice);
            let first = ranges.partition_point(|range| range.end() <= block.units.clock);
            ranges[first..]
                .iter()
                .take_while(|range| range.clock < block.units.end())
                .map(|range| {
                    let from = range.clock.max(block.units.clock);
                    u64::from(range.end().min(block.units.end()) - from)
                })
                .sum::<u64>()
        })
        .sum();
    let after = before + inserted - gone - stillborn;
    after > limits::DOCUMENT_UNITS && after > before
}

fn decide<'a>(index: &Index, update: &Update<'a>, route: Route, right: impl Fn(u64) -> Right) -> Verdict<'a> {
    let mut order = Order::new(index, &update.groups, route);
    if let Err(refusal) = order.run(&right) {
        return Verdict::Refuse(refusal);
    }
    let Order { ordered: blocks, known, gap: mut left_out, mut trimmed, .. } = order;
    if left_out && route == Route::Update {
        return Verdict::Hold;
    }

    let next_clock = |client: u64| known.get(&client).copied().unwrap_or_else(|| index.next_clock(client));
    let mut deletes = Vec::with_capacity(update.deletes.len());
    for range in &update.deletes {
        let end = range.end().min(next_clock(range.client));
        if end < range.end() {
            if route == Route::Update {
                return Verdict::Hold;
            }
            left_out = true;
        }
        if end <= range.clock {
            continue;
        }
        let here = UnitRange { length: end - range.clock, ..*range };
        match route {
            // A deletion of what somebody else has deleted already is kept: both wanted it gone.
            Route::Update => deletes.push(here),
            // A reply repeats the whole history of deletions; only what is still there is news.
            Route::Step2 => {
                let before = deletes.len();
                deletes.extend(index.visible_stretches(here).into_iter().map(|stretch| stretch.units));
                let first_new = index.next_clock(range.client);
                if end > first_new {
                    let clock = first_new.max(here.clock);
                    deletes.push(UnitRange { client: range.client, clock, length: end - clock });
                }
                trimmed |= deletes.len() != before + 1 || deletes[before] != *range;
            }
        }
    }

    if blocks.is_empty() && deletes.is_empty() {
        return if left_out { Verdict::Hold } else { Verdict::Nothing };
    }
    Verdict::Admit(Admitted { blocks, deletes, whole: !trimmed && !left_out, left_out })
}

/// Whether an update, from somebody who may only read, brings nothing that is not here.
pub fn is_news(index: &Index, update: &Update<'_>) -> bool {
    let inserts = update.groups.iter().flat_map(|group| &group.blocks).any(|block| {
        block.content != Content::Skip && block.units.end() > index.next_clock(block.units.client)
    });
    inserts || update.deletes.iter().any(|range| index.any_visible(*range))
}

struct Order<'i, 'u, 'a> {
    index: &'i Index,
    groups: &'u [Group<'a>],
    route: Route,
    /// Next block of each group.
    cursors: Vec<usize>,
    /// Next clock of each client of the update, counting what has been ordered.
    known: HashMap<u64, u32>,
    /// Groups that wait for a client to pass a clock, the lowest first.
    waiting: HashMap<u64, BinaryHeap<Reverse<(u32, usize)>>>,
    ordered: Vec<Block<'a>>,
    /// Something depends on what is not here.
    gap: bool,
    /// Something was left out because it is known.
    trimmed: bool,
}

impl<'i, 'u, 'a> Order<'i, 'u, 'a> {
    fn new(index: &'i Index, groups: &'u [Group<'a>], route: Route) -> Self {
        Self {
            index,
            groups,
            route,
            cursors: vec![0; groups.len()],
            known: groups.iter().map(|group| (group.client, index.next_clock(group.client))).collect(),
            waiting: HashMap::new(),
            ordered: Vec::new(),
            gap: false,
            trimmed: false,
        }
    }

    fn next_clock(&self, client: u64) -> u32 {
        self.known.get(&client).copied().unwrap_or_else(|| self.index.next_clock(client))
    }

    fn run(&mut self, right: &impl Fn(u64) -> Right) -> Result<(), Refusal> {
        let mut ready: Vec<usize> = (0..self.groups.len()).rev().collect();
        while let Some(at) = ready.pop() {
            let client = self.groups[at].client;
            self.advance(at, right)?;
            let reached = self.next_clock(client);
            if let Some(waiting) = self.waiting.get_mut(&client) {
                while waiting.peek().is_some_and(|Reverse((clock, _))| *clock < reached) {
                    ready.extend(waiting.pop().map(|Reverse((_, group))| group));
                }
            }
        }
        self.gap |= self.cursors.iter().zip(self.groups).any(|(cursor, group)| *cursor < group.blocks.len());
        Ok(())
    }

    /// Takes blocks of one group until its end, or until one depends on what is not here yet.
    fn advance(&mut self, at: usize, right: &impl Fn(u64) -> Right) -> Result<(), Refusal> {
        let group = &self.groups[at];
        while let Some(block) = group.blocks.get(self.cursors[at]) {
            let known = self.next_clock(group.client);
            if block.units.end() <= known {
                self.trimmed = true;
                self.cursors[at] += 1;
                continue;
            }
            if block.content == Content::Skip || block.units.clock > known {
                return Ok(());
            }
            match right(group.client) {
                Right::Own => {}
                Right::GivenBack if self.route == Route::Step2 => {}
                Right::GivenBack => return Ok(()),
                Right::Foreign => return Err(Refusal::ForeignClient(group.client)),
                Right::Reserved => return Err(Refusal::ReservedClient(group.client)),
            }
            for unit in [block.origin, block.right].into_iter().flatten() {
                if unit.client == group.client && unit.clock >= block.units.clock {
                    return Err(Refusal::SelfReference(group.client));
                }
                if unit.clock >= self.next_clock(unit.client) {
                    self.wait(at, unit);
                    return Ok(());
                }
            }
            if block.units.clock < known {
                self.trimmed = true;
                self.ordered.push(block.without_first(known - block.units.clock));
            } else {
                self.ordered.push(block.clone());
            }
            self.known.insert(group.client, block.units.end());
            self.cursors[at] += 1;
        }
        Ok(())
    }

    fn wait(&mut self, at: usize, unit: Unit) {
        self.waiting.entry(unit.client).or_default().push(Reverse((unit.clock, at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODYS: fn(u64) -> Right = |_| Right::Own;

    fn range(client: u64, clock: u32, length: u32) -> UnitRange {
        UnitRange { client, clock, length }
    }

    fn text(
        client: u64,
        clock: u32,
        text: &str,
        origin: Option<(u64, u32)>,
        right: Option<(u64, u32)>,
    ) -> Block<'_> {
        let unit = |(client, clock)| Unit { client, clock };
        Block {
            units: range(client, clock, crate::update::utf16_len(text)),
            origin: origin.map(unit),
            right: right.map(unit),
            content: Content::Text(text.into()),
        }
    }

    fn update(groups: Vec<Vec<Block<'_>>>, deletes: Vec<UnitRange>) -> Update<'_> {
        let groups =
            groups.into_iter().map(|blocks| Group { client: blocks[0].units.client, blocks }).collect();
        Update { groups, deletes }
    }

    /// Client 1 typed "hello".
    fn index() -> Index {
        let mut index = Index::new();
        index.insert(range(1, 0, 5), None, None, false);
        index
    }

    fn admitted(verdict: Verdict<'_>) -> Admitted<'_> {
        match verdict {
            Verdict::Admit(admitted) => admitted,
            other => panic!("not admitted: {other:?}"),
        }
    }

    #[test]
    fn typing_is_admitted_as_it_was_sent() {
        let update = update(vec![vec![text(1, 5, "!", Some((1, 4)), None)]], vec![]);
        let admitted = admitted(admit(&index(), &update, Route::Update, NOBODYS));
        assert!(admitted.whole);
        assert_eq!(admitted.advances(), [(1, 5, 6)]);
    }

    #[test]
    fn what_is_known_is_nothing_and_what_straddles_is_cut() {
        let known = update(vec![vec![text(1, 0, "hello", None, None)]], vec![]);
        assert_eq!(admit(&index(), &known, Route::Update, NOBODYS), Verdict::Nothing);
        let straddling = update(vec![vec![text(1, 0, "hello!", None, None)]], vec![]);
        let admitted = admitted(admit(&index(), &straddling, Route::Step2, NOBODYS));
        assert!(!admitted.whole);
        assert_eq!(admitted.blocks, [text(1, 5, "!", Some((1, 4)), None)]);
        let bytes = admitted.encode();
        assert_eq!(Update::read(&bytes).unwrap().groups[0].blocks, admitted.blocks);
    }

    #[test]
    fn a_client_for_every_block_is_counted_quickly() {
        let blocks = (0..400_000).map(|client| text(client, 0, "x", None, None)).collect();
        let admitted = Admitted { blocks, ..Admitted::default() };
        let advances = admitted.advances();
        assert_eq!((advances.len(), advances[7]), (400_000, (7, 0, 1)));
    }

    #[test]
    fn blocks_are_ordered_by_what_they_depend_on() {
        // Client 9's block hangs on client 2's, which stands behind it in the bytes.
        let update = update(
            vec![vec![text(9, 0, "b", Some((2, 0)), None)], vec![text(2, 0, "a", Some((1, 4)), None)]],
            vec![range(9, 0, 1)],
        );
        let admitted = admitted(admit(&index(), &update, Route::Update, NOBODYS));
        let order: Vec<u64> = admitted.blocks.iter().map(|block| block.units.client).collect();
        assert_eq!(order, [2, 9]);
        assert!(admitted.whole);
    }

    #[test]
    fn a_gap_is_held_in_an_update_and_left_out_of_a_reply() {
        let cases = [
            update(vec![vec![text(1, 7, "!", Some((1, 6)), None)]], vec![]),
            update(vec![vec![text(2, 0, "!", Some((3, 0)), None)]], vec![]),
            update(vec![], vec![range(1, 4, 2)]),
            update(
                vec![vec![text(3, 0, "x", Some((2, 0)), None)], vec![text(2, 0, "y", Some((3, 0)), None)]],
                vec![],
            ),
        ];
        for case in cases {
            assert_eq!(admit(&index(), &case, Route::Update, NOBODYS), Verdict::Hold, "{case:?}");
        }
        let reply = update(
            vec![vec![text(3, 0, "x", Some((4, 0)), None)], vec![text(2, 0, "y", Some((1, 0)), None)]],
            vec![range(1, 4, 9)],
        );
        let admitted = admitted(admit(&index(), &reply, Route::Step2, NOBODYS));
        assert!(admitted.left_out && !admitted.whole);
        assert_eq!(admitted.blocks.len(), 1);
        assert_eq!(admitted.deletes, [range(1, 4, 1)]);
    }

    #[test]
    fn a_reply_that_repeats_old_deletions_is_nothing() {
        let mut index = index();
        index.delete(range(1, 1, 2));
        let reply = update(vec![], vec![range(1, 1, 2)]);
        assert_eq!(admit(&index, &reply, Route::Step2, NOBODYS), Verdict::Nothing);
        assert!(!is_news(&index, &reply));
        let news = update(vec![], vec![range(1, 0, 2)]);
        assert_eq!(admitted(admit(&index, &news, Route::Step2, NOBODYS)).deletes, [range(1, 0, 1)]);
        assert!(is_news(&index, &news));
    }

    /// [A2] Nobody writes under an id that is not theirs.
    #[test]
    fn nobody_writes_under_a_foreign_or_reserved_id() {
        let new = update(vec![vec![text(2, 0, "x", None, None)]], vec![]);
        let refused = |right, route| match admit(&index(), &new, route, |_| right) {
            Verdict::Refuse(refusal) => Some(refusal),
            _ => None,
        };
        assert_eq!(refused(Right::Reserved, Route::Update), Some(Refusal::ReservedClient(2)));
        assert_eq!(refused(Right::Reserved, Route::Step2), Some(Refusal::ReservedClient(2)));
        assert_eq!(refused(Right::Foreign, Route::Update), Some(Refusal::ForeignClient(2)));
        assert_eq!(refused(Right::Foreign, Route::Step2), Some(Refusal::ForeignClient(2)));
        assert_eq!(refused(Right::GivenBack, Route::Step2), None);
        assert_eq!(admit(&index(), &new, Route::Update, |_| Right::GivenBack), Verdict::Hold);
        let known = update(vec![vec![text(1, 0, "hello", None, None)]], vec![]);
        assert_eq!(admit(&index(), &known, Route::Update, |_| Right::Reserved), Verdict::Nothing);
    }

    #[test]
    fn a_document_does_not_grow_over_its_limit() {
        let large = "x".repeat(limits::DOCUMENT_UNITS as usize);
        let update = update(vec![vec![text(2, 0, &large, None, None)]], vec![]);
        let verdict = admit(&index(), &update, Route::Update, NOBODYS);
        assert_eq!(verdict, Verdict::Refuse(Refusal::DocumentTooLarge(limits::DOCUMENT_UNITS)));
    }
}

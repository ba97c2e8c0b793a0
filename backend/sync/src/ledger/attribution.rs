//! Who wrote what, and what a turn did: the ledger as people are shown it.

use std::collections::BTreeMap;

use ensemble_protocol::id::{HunkId, MemberId, TurnId};
use ensemble_store::{ClientOwner, LedgerKind};

use super::{HunkOf, Ledger, hunk_of, range_of};
use crate::anchor::{BaseRun, UnitRange};
use crate::units::UnitSet;

/// Who wrote a stretch of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A person, where it is known who.
    Person(Option<MemberId>),
    /// A turn, and its hunk where that is known.
    Turn(TurnId, Option<HunkId>),
}

/// A stretch of text one person or one hunk wrote, under one client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// UTF-16 units before it.
    pub start: u32,
    /// Its units.
    pub units: UnitRange,
    /// Who wrote it.
    pub writer: Writer,
}

/// Who wrote the visible units of a document, in its order and without gaps.
///
/// What came back is its first author's. `owner` says whose client ids are; the server's own, where they are not
/// copies, hold the text a document was made with, by `maker`.
pub fn attribute(
    runs: &[BaseRun],
    ledger: &Ledger,
    owner: impl Fn(u64) -> Option<ClientOwner>,
    maker: Option<MemberId>,
) -> Vec<Span> {
    let mut hunks: BTreeMap<(u64, u32), (u32, HunkOf)> = BTreeMap::new();
    for entry in ledger.entries().iter().filter(|entry| entry.kind == LedgerKind::Inserted) {
        if let Some(hunk) = hunk_of(entry) {
            hunks.insert((entry.client, entry.clock), (range_of(entry).end(), hunk));
        }
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut add = |span: Span| match spans.last_mut() {
        Some(last)
            if last.writer == span.writer
                && last.units.client == span.units.client
                && last.units.end() == span.units.clock =>
        {
            last.units.length += span.units.length;
        }
        _ => spans.push(span),
    };
    for run in runs {
        for (part, original) in ledger.originals(run.units) {
            let start = run.offset + (part.clock - run.units.clock);
            let turn = match owner(original.client) {
                Some(ClientOwner::Turn(turn)) => turn,
                other => {
                    let member = match other {
                        Some(ClientOwner::Member(member)) => Some(member),
                        Some(ClientOwner::Server) => maker,
                        _ => None,
                    };
                    add(Span { start, units: part, writer: Writer::Person(member) });
                    continue;
                }
            };
            // A turn's units belong to hunks, one after the other.
            let end = original.clock + part.length;
            let mut at = original.clock;
            while at < end {
                let held = hunks.range(..=(original.client, at)).next_back();
                let held = held.filter(|((client, _), (to, _))| *client == original.client && *to > at);
                let (to, hunk) = if let Some((_, (to, (_, hunk)))) = held {
                    ((*to).min(end), Some(*hunk))
                } else {
                    let next = hunks.range((original.client, at)..(original.client, end)).next();
                    (next.map_or(end, |((_, from), _)| *from), None)
                };
                let skip = at - original.clock;
                let units = UnitRange { client: part.client, clock: part.clock + skip, length: to - at };
                add(Span { start: start + skip, units, writer: Writer::Turn(turn, hunk) });
                at = to;
            }
        }
    }
    spans
}

/// What a hunk did, as ids of units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HunkUnits {
    /// What it inserted, visible or not, and what came back of it.
    pub inserted: Vec<UnitRange>,
    /// What it deleted, with its text.
    pub deleted: Vec<(UnitRange, String)>,
}

/// What a turn did in a document, by hunk.
///
/// What another had deleted before it is not told here.
pub fn changes(ledger: &Ledger, turn: TurnId) -> BTreeMap<HunkId, HunkUnits> {
    let mut hunks: BTreeMap<HunkId, HunkUnits> = BTreeMap::new();
    let mut sets: BTreeMap<HunkId, UnitSet> = BTreeMap::new();
    for entry in ledger.entries() {
        let Some((_, hunk)) = hunk_of(entry).filter(|(of, _)| *of == turn) else { continue };
        let units = range_of(entry);
        match entry.kind {
            LedgerKind::Inserted => {
                hunks.entry(hunk).or_default().inserted.push(units);
                sets.entry(hunk).or_default().insert(units);
            }
            LedgerKind::Deleted => {
                let text = entry.text.clone().unwrap_or_default();
                hunks.entry(hunk).or_default().deleted.push((units, text));
            }
            LedgerKind::Withdrawn | LedgerKind::Restored | LedgerKind::AlsoDeleted => {}
        }
    }
    for entry in ledger.entries().iter().filter(|entry| entry.of.is_some()) {
        for (part, original) in ledger.originals(range_of(entry)) {
            let stands_for =
                UnitRange { client: original.client, clock: original.clock, length: part.length };
            for (hunk, set) in &sets {
                for common in set.common(stands_for) {
                    let clock = part.clock + (common.clock - stands_for.clock);
                    let units = UnitRange { client: part.client, clock, length: common.length };
                    hunks.entry(*hunk).or_default().inserted.push(units);
                }
            }
        }
    }
    hunks
}

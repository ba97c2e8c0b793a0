//! What turns did, and what of it stays.
//!
//! The rule: **a unit is visible when it was not inserted by a rejected hunk and was not deleted, or was deleted
//! only by rejected hunks.** People are never rejected. [`reconcile`] compares the rule with the document, for the
//! units some hunks touched, and says what has to go and what has to come back. It asks for nothing but the
//! document's index, its ledger and which hunks are rejected, so the order in which they were rejected does not
//! matter, and doing it twice changes nothing.
//!
//! *Coming back.* What was deleted cannot be undeleted, so its text is inserted again, under new ids: a copy.
//! The ledger says of a copy which units it stands for, so that whoever deletes the copy deletes those, and it
//! keeps its author. A copy stands right behind what stood for its units before. Any other unit is then on the
//! same side of it as it was of that one, so texts come back in their old order however many deleted ones stand
//! side by side and in whatever order they return. What goes again goes with all its copies.
//!
//! *Who deleted.* A turn's deletions are in the ledger. A unit that is deleted and of which the ledger does not
//! say so was deleted by a person. Whoever deletes what a turn or a review has taken away already is recorded as
//! well ([`LedgerKind::AlsoDeleted`]), since otherwise rejecting that turn would bring back what a person wanted
//! gone. That can be told only from Updates, which hold what their sender just did; a SyncStep2 holds everything
//! its sender ever learnt was deleted, by whomever, so it is taken as saying nothing about that.
//!
//! *Size.* A unit is inserted once and deleted once; what wants it gone later finds it in the ledger, and of
//! people's wishes each unit needs one. So inserted ranges, deleted ranges and people's ranges are each at most
//! as long as all that was ever inserted, and so are the texts; what one person inserts is slowed down after
//! `PERSON_UNITS`. Flushes of one hunk that follow each other are one entry. A person's wish is a few bytes of an
//! update and an entry each for as many places as a turn's text has: an update with more than `UPDATE_WISHES` of them
//! is refused, and each counts as work. So the ledger has at most an entry for each unit ever inserted and for each
//! that was deleted twice, and grows no faster than people may ask for work.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ensemble_protocol::id::{HunkId, TurnId};
use ensemble_store::{LedgerActor, LedgerEntry, LedgerKind};

use crate::anchor::{Anchor, Unit, UnitRange};
use crate::index::Index;
use crate::units::UnitSet;
use crate::writer::ServerEdit;

mod attribution;
mod texts;

pub use attribution::{HunkUnits, Span, Writer, attribute, changes};
use texts::Cuts;

/// A hunk of a turn.
pub type HunkOf = (TurnId, HunkId);

/// The ledger of a document, with what its copies stand for.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: Vec<LedgerEntry>,
    /// Of each copy, by client and first clock: the clock after its last unit, and what it stands for.
    copies: HashMap<u64, BTreeMap<u32, (u32, Unit)>>,
}

impl Ledger {
    /// The ledger of a document, from its entries in the order they were made.
    pub fn new(entries: Vec<LedgerEntry>) -> Self {
        let mut copies: HashMap<u64, BTreeMap<u32, (u32, Unit)>> = HashMap::new();
        for entry in &entries {
            if let Some((client, clock)) = entry.of {
                let units = range_of(entry);
                let of = Unit { client, clock };
                copies.entry(units.client).or_default().insert(units.clock, (units.end(), of));
            }
        }
        Self { entries, copies }
    }

    /// Its entries.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }

    /// The parts of a range, each with the first of the units it stands for: itself, unless it is a copy.
    pub fn originals(&self, range: UnitRange) -> Vec<(UnitRange, Unit)> {
        let Some(copies) = self.copies.get(&range.client) else { return vec![(range, range.first())] };
        let mut parts = Vec::new();
        let mut from = range.clock;
        let part = |from: u32, to: u32| UnitRange { client: range.client, clock: from, length: to - from };
        let start = copies.range(..=range.clock).next_back().map_or(range.clock, |(first, _)| *first);
        for (first, (end, of)) in copies.range(start..range.end().max(start)) {
            let (copy_from, copy_to) = ((*first).max(range.clock), (*end).min(range.end()));
            if copy_from >= copy_to {
                continue;
            }
            if from < copy_from {
                parts.push((part(from, copy_from), part(from, copy_from).first()));
            }
            let original = Unit { client: of.client, clock: of.clock + (copy_from - first) };
            parts.push((part(copy_from, copy_to), original));
            from = copy_to;
        }
        if from < range.end() {
            parts.push((part(from, range.end()), part(from, range.end()).first()));
        }
        parts
    }
}

/// Which units to compare with the rule.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// Those that these hunks inserted or wanted gone.
    Hunks(&'a BTreeSet<HunkOf>),
    /// These.
    Units(&'a [UnitRange]),
    /// All the ledger speaks of.
    Everything,
}

/// Something that has to be done so that the rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Visible units have to go.
    Withdraw {
        /// The units.
        units: UnitRange,
        /// Because of this hunk.
        hunk: HunkOf,
    },
    /// Text has to come back, in one piece.
    Restore {
        /// Right behind this.
        after: Unit,
        /// The text.
        text: String,
        /// Its parts, in order.
        parts: Vec<Part>,
    },
}

/// A part of what comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it stands for.
    pub of: UnitRange,
    /// The first of the units that stood for that last.
    pub stood: Unit,
    /// It comes back because of this hunk.
    pub hunk: HunkOf,
}

impl Step {
    /// The step as an edit.
    pub fn edit(&self) -> ServerEdit {
        match self {
            Self::Withdraw { units, .. } => {
                ServerEdit { at: Anchor::Start, insert: String::new(), delete: vec![*units] }
            }
            Self::Restore { after, text, .. } => {
                ServerEdit { at: Anchor::After(*after), insert: text.clone(), delete: Vec::new() }
            }
        }
    }
}

/// What the ledger or the index says of a range of units that are not copies.
struct Fact<'l> {
    from: u32,
    to: u32,
    what: What<'l>,
}

#[derive(Clone, Copy)]
enum What<'l> {
    /// A hunk inserted it.
    Inserted(HunkOf),
    /// A hunk wants it gone; or a person does.
    Unwanted(Option<HunkOf>),
    /// The units from this one on came to stand for it, as the which-th entry says.
    Copied(usize, Unit),
    /// It is visible, as the units from this one on.
    Visible(Unit),
    /// Its text begins so many units into this.
    Text(&'l str, u32),
}

type Facts<'l> = BTreeMap<u64, Vec<Fact<'l>>>;

/// A part of what comes back, before it is known where.
struct Returning {
    part: Part,
    text: String,
    /// Where what stood for it last stands.
    place: u64,
}

/// What has to be done so that the rule holds for the units asked about.
///
/// `undone` are the hunks that count as never written. Text that the ledger does not have stays away.
pub fn reconcile(index: &Index, ledger: &Ledger, asked: Asked<'_>, undone: &BTreeSet<HunkOf>) -> Vec<Step> {
    let asked = asked_units(ledger, asked);
    let facts = gather(index, ledger, &asked);
    let mut steps = Vec::new();
    let mut returning = Vec::new();
    let mut cuts = Cuts::default();
    for (client, facts) in facts {
        sweep(client, facts, |range, facts| {
            judge(index, range, facts, undone, &mut cuts, &mut steps, &mut returning);
        });
    }
    steps.extend(grouped(returning));
    steps
}

fn asked_units(ledger: &Ledger, asked: Asked<'_>) -> UnitSet {
    let mut set = UnitSet::default();
    let mut ask = |range: UnitRange| {
        for (part, original) in ledger.originals(range) {
            set.insert(UnitRange { client: original.client, clock: original.clock, length: part.length });
        }
    };
    match asked {
        Asked::Units(ranges) => ranges.iter().copied().for_each(ask),
        Asked::Hunks(hunks) => {
            let theirs = ledger.entries.iter().filter(|entry| {
                matches!(entry.kind, LedgerKind::Inserted | LedgerKind::Deleted | LedgerKind::AlsoDeleted)
                    && hunk_of(entry).is_some_and(|hunk| hunks.contains(&hunk))
            });
            theirs.map(range_of).for_each(ask);
        }
        Asked::Everything => {
            ledger.entries.iter().filter(|entry| entry.of.is_none()).map(range_of).for_each(&mut ask);
        }
    }
    set
}

/// Everything that is known of the units asked about, by the client of what they stand for.
fn gather<'l>(index: &Index, ledger: &'l Ledger, asked: &UnitSet) -> Facts<'l> {
    let mut facts = Facts::new();
    let mut note = |original: UnitRange, what: &dyn Fn(u32) -> What<'l>| {
        for part in asked.common(original) {
            let what = what(part.clock - original.clock);
            facts.entry(part.client).or_default().push(Fact { from: part.clock, to: part.end(), what });
        }
    };
    let mut taken = UnitSet::default();
    // Ranges that stand for what was asked about, each with the first unit it stands for.
    let mut standing: Vec<(UnitRange, Unit)> = asked.ranges().map(|range| (range, range.first())).collect();
    for (order, entry) in ledger.entries.iter().enumerate() {
        let units = range_of(entry);
        if matches!(entry.kind, LedgerKind::Deleted | LedgerKind::Withdrawn) {
            taken.insert(units);
        }
        for (part, first) in ledger.originals(units) {
            let original = UnitRange { client: first.client, clock: first.clock, length: part.length };
            let skipped = part.clock - units.clock;
            if let Some(text) = &entry.text {
                note(original, &|offset| What::Text(text, skipped + offset));
            }
            match (entry.kind, hunk_of(entry)) {
                (LedgerKind::Inserted, Some(hunk)) => note(original, &|_| What::Inserted(hunk)),
                (LedgerKind::Deleted, Some(hunk)) => note(original, &|_| What::Unwanted(Some(hunk))),
                (LedgerKind::AlsoDeleted, hunk) => note(original, &|_| What::Unwanted(hunk)),
                (LedgerKind::Restored, _) if entry.of.is_some() => {
                    note(original, &|offset| {
                        What::Copied(order, Unit { clock: part.clock + offset, ..part.first() })
                    });
                    standing.extend(asked.common(original).into_iter().map(|common| {
                        let clock = part.clock + (common.clock - original.clock);
                        (UnitRange { client: part.client, clock, length: common.length }, common.first())
                    }));
                }
                _ => {}
            }
        }
    }
    for (range, first) in standing {
        let original = |part: UnitRange| UnitRange {
            client: first.client,
            clock: first.clock + (part.clock - range.clock),
            length: part.length,
        };
        for visible in index.visible_stretches(range) {
            let units = visible.units;
            note(original(units), &|offset| {
                What::Visible(Unit { clock: units.clock + offset, ..units.first() })
            });
        }
        // Deleted, and no turn and no review did it.
        for gone in index.deleted_stretches(range).into_iter().flat_map(|gone| taken.lacking(gone)) {
            note(original(gone), &|_| What::Unwanted(None));
        }
    }
    facts
}

/// Cuts a client's units where what is known of them changes, and shows each piece with what is known.
fn sweep<'l>(client: u64, mut facts: Vec<Fact<'l>>, mut piece: impl FnMut(UnitRange, &[(u32, What<'l>)])) {
    facts.sort_by_key(|fact| fact.from);
    let mut cuts: Vec<u32> = facts.iter().flat_map(|fact| [fact.from, fact.to]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut facts = facts.into_iter().peekable();
    let mut open: Vec<Fact<'l>> = Vec::new();
    let mut known = Vec::new();
    for pair in cuts.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        open.retain(|fact| fact.to > from);
        while let Some(fact) = facts.next_if(|fact| fact.from <= from) {
            open.push(fact);
        }
        if open.is_empty() {
            continue;
        }
        known.clear();
        known.extend(open.iter().map(|fact| (from - fact.from, fact.what)));
        piece(UnitRange { client, clock: from, length: to - from }, &known);
    }
}

/// Compares one piece with the rule. Facts come with how far into them the piece begins.
fn judge(
    index: &Index,
    of: UnitRange,
    facts: &[(u32, What<'_>)],
    undone: &BTreeSet<HunkOf>,
    cuts: &mut Cuts,
    steps: &mut Vec<Step>,
    returning: &mut Vec<Returning>,
) {
    let mut wanted = true;
    let mut visible = Vec::new();
    let mut stood = (None, of.first());
    let mut text = None;
    let (mut writer, mut deleter) = (None, None);
    for (skip, fact) in facts {
        let after = |unit: Unit| Unit { clock: unit.clock + skip, ..unit };
        match *fact {
            What::Inserted(hunk) => {
                wanted &= !undone.contains(&hunk);
                writer = Some(hunk);
            }
            What::Unwanted(None) => wanted = false,
            What::Unwanted(Some(hunk)) => {
                wanted &= undone.contains(&hunk);
                // Of several that want it gone, one that counts says more.
                if deleter.is_none() || !undone.contains(&hunk) {
                    deleter = Some(hunk);
                }
            }
            What::Copied(order, unit) => stood = stood.max((Some(order), after(unit))),
            What::Visible(unit) => visible.push(after(unit)),
            What::Text(all, start) => text = Some((all, start + skip)),
        }
    }
    // What nobody has withdrawn or deleted has no copies and is as it should be.
    let Some(hunk) = writer.filter(|hunk| undone.contains(hunk)).or(deleter).or(writer) else { return };
    if !wanted {
        steps.extend(visible.into_iter().map(|unit| Step::Withdraw {
            units: UnitRange { client: unit.client, clock: unit.clock, length: of.length },
            hunk,
        }));
        return;
    }
    if !visible.is_empty() {
        return;
    }
    let Some((text, start)) = text else { return };
    let stood = UnitRange { client: stood.1.client, clock: stood.1.clock, length: of.length };
    // What was typed between its units meanwhile stays between them.
    for (part, place) in index.placed(stood) {
        let skip = part.clock - stood.clock;
        let (text, lost, length) = cuts.cut(text, start + skip, part.length);
        if length > 0 {
            let of = UnitRange { client: of.client, clock: of.clock + skip + lost, length };
            let stood = Unit { clock: part.clock + lost, ..part.first() };
            returning.push(Returning {
                part: Part { of, stood, hunk },
                text,
                place: place + u64::from(lost),
            });
        }
    }
}

/// Puts what stands side by side into one piece.
fn grouped(mut returning: Vec<Returning>) -> Vec<Step> {
    returning.sort_by_key(|returning| returning.place);
    let mut steps: Vec<Step> = Vec::new();
    let mut next = None;
    for Returning { part, text: more, place } in returning {
        let last = Unit { clock: part.stood.clock + part.of.length - 1, ..part.stood };
        let follows = next == Some(place);
        next = Some(place + u64::from(part.of.length));
        match steps.last_mut() {
            Some(Step::Restore { after, text, parts }) if follows => {
                *after = last;
                text.push_str(&more);
                parts.push(part);
            }
            _ => steps.push(Step::Restore { after: last, text: more, parts: vec![part] }),
        }
    }
    steps
}

pub(crate) fn range_of(entry: &LedgerEntry) -> UnitRange {
    UnitRange { client: entry.client, clock: entry.clock, length: entry.length }
}

pub(crate) fn hunk_of(entry: &LedgerEntry) -> Option<HunkOf> {
    match (entry.by, entry.hunk) {
        (LedgerActor::Turn(turn), Some(hunk)) => Some((turn, hunk)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(client: u64, clock: u32, length: u32) -> UnitRange {
        UnitRange { client, clock, length }
    }

    #[test]
    fn a_copy_stands_for_what_was_there() {
        let turn = TurnId::from_slice(&[1; 16]).expect("sixteen bytes");
        let copy = |clock, length, of| LedgerEntry {
            by: LedgerActor::Turn(turn),
            hunk: Some(HunkId(1)),
            kind: LedgerKind::Restored,
            client: 9,
            clock,
            length,
            text: None,
            of: Some(of),
        };
        let ledger = Ledger::new(vec![copy(2, 3, (1, 10)), copy(5, 2, (2, 40))]);
        let unit = |client, clock| Unit { client, clock };
        assert_eq!(ledger.originals(range(1, 0, 5)), [(range(1, 0, 5), unit(1, 0))]);
        assert_eq!(
            ledger.originals(range(9, 0, 9)),
            [
                (range(9, 0, 2), unit(9, 0)),
                (range(9, 2, 3), unit(1, 10)),
                (range(9, 5, 2), unit(2, 40)),
                (range(9, 7, 2), unit(9, 7)),
            ]
        );
        assert_eq!(
            ledger.originals(range(9, 3, 3)),
            [(range(9, 3, 2), unit(1, 11)), (range(9, 5, 1), unit(2, 40))]
        );
    }
}

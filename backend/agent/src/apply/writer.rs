//! One document a turn writes in: what waits, what is on its way, and where the agent is seen.
//!
//! Positions arrive in UTF-16 units of the text the model was shown, and become anchors when they are written.
//! At most one write per document is under way; text that settles meanwhile joins the next one.
//!
//! Edits of a hunk are written as they settle, before its end. A later line may still contradict the hunk; then
//! it is undone as if it had been rejected, and the base text learns the new units of what returned.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ensemble_edit::{TextIndex, Utf16Edit, Utf16Offset};
use ensemble_protocol::id::{DocumentId, HunkId};
use ensemble_protocol::limits;
use ensemble_protocol::rest::HunkState;
use ensemble_store::{Change, HunkRecord, LedgerEntry, LedgerKind};
use ensemble_sync::anchor::{Anchor, BaseRun, BaseText, UnitRange};
use ensemble_sync::room::{AnchoredEdit, Room, Written, WrittenEdit};
use tokio::time::Instant;

use super::hunks::Hunks;
use super::{PART_GONE, YIELDED};
use crate::context::Shown;

/// How long a span that was announced is shown, before the cursor that writes in it; the next span may come sooner.
const SPAN_TIME: Duration = Duration::from_millis(200);

/// A document's part of a turn.
#[derive(Debug)]
pub(super) struct DocumentWriter {
    pub(super) document: DocumentId,
    pub(super) path: Arc<str>,
    pub(super) room: Room,
    base: BaseText,
    lines: Option<TextIndex>,
    /// Settled edits that wait to be written.
    pending: VecDeque<Planned>,
    /// Where the next text at an offset goes, once something was written there.
    ends: HashMap<u32, Anchor>,
    /// What was written, to compare with the ledger.
    pub(super) tally: Tally,
    /// Hunks of which something was written.
    written: HashSet<HunkId>,
    /// Hunks of the write that is under way.
    under_way: Option<HashSet<HunkId>>,
    /// Where hunks that are not written yet belong, in the base text.
    aims: HashMap<HunkId, Range<u32>>,
    /// Lines that applied edits added or removed, to tell the line a hunk is at now.
    shifts: Vec<Shift>,
    /// When the next write may begin.
    pub(super) due: Instant,
    pub(super) sight: Sight,
}

/// Lines an edit added, or removed where negative, at an offset of the base text.
#[derive(Debug)]
struct Shift {
    hunk: HunkId,
    at: u32,
    lines: i64,
}

/// How others see the agent in a document.
#[derive(Debug)]
pub(super) struct Sight {
    /// Where it is.
    pub(super) cursor: Option<(Anchor, Anchor)>,
    /// `reading` or `writing`.
    pub(super) status: &'static str,
    /// Whether the others have not been told yet.
    pub(super) stale: bool,
    /// Whether they are being told.
    pub(super) telling: bool,
    /// Whether they were ever told.
    pub(super) seen: bool,
    /// Which place they were told of last, and when.
    pub(super) told: Option<((Anchor, Anchor), Instant)>,
    /// When they may be told again.
    pub(super) due: Instant,
}

/// An edit on its way.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    hunk: HunkId,
    /// Where it inserts, in the base text.
    at: u32,
    insert: String,
    /// What it deletes, in the base text.
    delete: Range<u32>,
    what: What,
    /// The same in the text as it is now, where it is not in the base text.
    now: Option<Now>,
}

/// Where an edit of the text as it is now belongs.
#[derive(Debug, Clone)]
struct Now {
    at: Anchor,
    delete: Vec<UnitRange>,
    deleted: u32,
    /// From 1.
    line: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A change of the base text.
    Edit,
    /// A change of the text as it is now.
    EditNow,
    /// The whole text of a document just made, which becomes the base text.
    NewText,
    /// Everything inserted for the hunk goes again.
    TakeBack,
}

/// Edits that are written together.
#[derive(Debug)]
pub(super) struct Batch {
    items: Vec<Planned>,
    pub(super) edits: Vec<AnchoredEdit>,
    pub(super) changes: Vec<Change>,
    /// The span it is about, where a hunk begins in it.
    span: Option<(Anchor, Anchor)>,
    /// The hunk this takes back; then there are no `edits`, and the ledger says what is done.
    pub(super) take_back: Option<HunkId>,
    /// What came back when it was taken back: the units it had, and those it has now.
    pub(super) returned: Vec<(UnitRange, UnitRange)>,
}

/// Units a turn inserted and deleted in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    inserted: u64,
    deleted: u64,
}

impl Tally {
    /// As the ledger has it.
    pub(super) fn of(ledger: &[LedgerEntry]) -> Self {
        let sum = |kind| {
            ledger.iter().filter(|entry| entry.kind == kind).map(|entry| u64::from(entry.length)).sum()
        };
        Self { inserted: sum(LedgerKind::Inserted), deleted: sum(LedgerKind::Deleted) }
    }

    fn add(&mut self, written: &Written) {
        for edit in &written.edits {
            self.inserted += u64::from(edit.inserted);
            self.deleted += u64::from(edit.deleted);
        }
    }
}

impl DocumentWriter {
    pub(super) fn new(
        document: DocumentId,
        path: Arc<str>,
        room: Room,
        base: BaseText,
        now: Instant,
    ) -> Self {
        let sight = Sight {
            cursor: None,
            status: "reading",
            stale: false,
            telling: false,
            seen: false,
            told: None,
            due: now,
        };
        Self {
            document,
            path,
            room,
            base,
            lines: None,
            pending: VecDeque::new(),
            ends: HashMap::new(),
            tally: Tally::default(),
            written: HashSet::new(),
            under_way: None,
            aims: HashMap::new(),
            shifts: Vec::new(),
            due: now,
            sight,
        }
    }

    /// The document and the text that positions refer to.
    pub(super) fn shown(&self) -> Shown {
        let (room, base) = (self.room.clone(), self.base.clone());
        Shown { document: self.document, path: self.path.to_string(), room, base, writable: true }
    }

    /// From here on positions are those of another text, of the document as it is now. Nothing may wait.
    pub(super) fn begin_again(&mut self, room: Room, base: BaseText) {
        debug_assert!(
            self.pending.is_empty() && self.under_way.is_none(),
            "nothing waits between two answers"
        );
        self.room = room;
        self.base = base;
        self.lines = None;
        self.ends.clear();
        self.aims.clear();
        self.shifts.clear();
        self.sight.status = "reading";
        self.sight.stale = true;
    }

    /// The agent is about to write here.
    pub(super) fn aim(&mut self, hunk: HunkId, range: &Range<Utf16Offset>) {
        self.aims.insert(hunk, range.start.0..range.end.0);
        self.sight.cursor = Some((self.base.anchor(range.start), self.base.anchor(range.end)));
        self.sight.status = "writing";
        self.sight.stale = true;
    }

    /// Takes an edit that is settled unless its hunk is contradicted.
    pub(super) fn push(&mut self, hunk: HunkId, delete: Range<Utf16Offset>, at: Utf16Offset, insert: String) {
        let edit = Planned {
            hunk,
            at: at.0,
            insert,
            delete: delete.start.0..delete.end.0,
            what: What::Edit,
            now: None,
        };
        if let Some(last) = self.pending.back_mut()
            && (last.hunk, last.at, last.what) == (hunk, at.0, What::Edit)
            && last.delete.is_empty()
            && edit.delete.is_empty()
        {
            // Only with what replaces nothing either: what replaces may yield, and this does not.
            last.insert.push_str(&edit.insert);
            return;
        }
        self.pending.push_back(edit);
    }

    /// Takes the edits of a hunk that stands in the text as it is now and not in the base text.
    pub(super) fn push_now(
        &mut self,
        hunk: HunkId,
        text: &BaseText,
        index: &TextIndex,
        edits: Vec<Utf16Edit>,
    ) {
        for edit in edits {
            let Range { start, end } = edit.range;
            let line = index.line_column_of(start).map_or(1, |place| place.line + 1);
            let delete = text.units(start..end);
            let now = Some(Now { at: text.anchor(start), delete, deleted: end.0 - start.0, line });
            let (insert, what) = (edit.replacement, What::EditNow);
            self.pending.push_back(Planned { hunk, at: 0, insert, delete: 0..0, what, now });
        }
    }

    /// Takes the text of a document just made.
    pub(super) fn push_new_text(&mut self, hunk: HunkId, text: String) {
        let what = What::NewText;
        self.pending.push_back(Planned { hunk, at: 0, insert: text, delete: 0..0, what, now: None });
    }

    /// The hunk is contradicted: what waits of it is dropped, what was written goes again. Answers whether
    /// anything was written.
    pub(super) fn take_back(&mut self, hunk: HunkId) -> bool {
        self.drop_unwritten(hunk);
        let written = self.written.contains(&hunk)
            || self.under_way.as_ref().is_some_and(|hunks| hunks.contains(&hunk));
        if written {
            let what = What::TakeBack;
            let insert = String::new();
            self.pending.push_back(Planned { hunk, at: 0, insert, delete: 0..0, what, now: None });
        }
        written
    }

    /// Drops what waits of a hunk.
    pub(super) fn drop_unwritten(&mut self, hunk: HunkId) {
        self.pending.retain(|edit| edit.hunk != hunk);
    }

    /// Drops everything that waits, and names the hunks that loses something.
    pub(super) fn drop_all(&mut self) -> Vec<HunkId> {
        let mut hunks: Vec<HunkId> = self.pending.drain(..).map(|edit| edit.hunk).collect();
        hunks.dedup();
        hunks
    }

    /// UTF-16 units, roughly, that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.pending.iter().map(|edit| edit.insert.len() + 1).sum()
    }

    /// Whether something waits that could be written now or later.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a write is under way.
    pub(super) const fn is_writing(&self) -> bool {
        self.under_way.is_some()
    }

    /// Takes what waits and can be written together.
    pub(super) fn begin_write(&mut self, hunks: &Hunks, now: Instant) -> Batch {
        debug_assert!(self.under_way.is_none(), "one write of a document at a time");
        let mut items: Vec<Planned> = Vec::with_capacity(self.pending.len());
        while let Some(edit) = self.pending.pop_front() {
            // What returns needs the ledger of all before it, and what follows a new text needs its units.
            if edit.what == What::TakeBack && !items.is_empty() {
                self.pending.push_front(edit);
                break;
            }
            let stands_alone = matches!(edit.what, What::TakeBack | What::NewText);
            items.push(edit);
            if stands_alone {
                break;
            }
        }
        let take_back = items.first().filter(|item| item.what == What::TakeBack).map(|item| item.hunk);
        let mut records: Vec<HunkRecord> = Vec::new();
        let mut edits = Vec::with_capacity(items.len());
        if let Some(hunk) = take_back {
            records.push(hunks.reverted(hunk, self.document, &self.path));
        } else {
            for item in &items {
                let edit = self.anchored(item);
                let known = records.iter().rposition(|record| record.hunk == item.hunk);
                let at = known.unwrap_or_else(|| {
                    records.push(hunks.record(item.hunk, Some(self.document), &self.path));
                    records.len() - 1
                });
                if records[at].line.is_none() {
                    records[at].line = Some(self.line_of(item));
                }
                let record = &mut records[at];
                record.anchor.get_or_insert_with(|| edit.at.to_relative_position());
                record.inserted += units(&item.insert);
                let deleted = item.now.as_ref().map(|now| now.deleted);
                record.deleted += deleted.unwrap_or(item.delete.end - item.delete.start);
                edits.push(edit);
            }
        }
        let span = self.span_of(&items);
        self.under_way = Some(items.iter().map(|item| item.hunk).collect());
        self.due = now + limits::FLUSH_INTERVAL;
        let changes = records.into_iter().map(|record| Change::PutHunk(Box::new(record))).collect();
        Batch { items, edits, changes, span, take_back, returned: Vec::new() }
    }

    /// What is about to be changed in the base text, where a hunk begins with that.
    fn span_of(&mut self, items: &[Planned]) -> Option<(Anchor, Anchor)> {
        let mut span: Option<Range<u32>> = None;
        let mut now: Option<(Anchor, Anchor)> = None;
        let mut begins = false;
        for item in items.iter().filter(|item| matches!(item.what, What::Edit | What::EditNow)) {
            begins |= !self.written.contains(&item.hunk);
            if let Some(place) = &item.now {
                let end = place.delete.last().map_or(place.at, |units| Anchor::After(units.last()));
                now = Some((now.map_or(place.at, |(start, _)| start), end));
                continue;
            }
            let aim = self.aims.remove(&item.hunk);
            let own = item.delete.start.min(item.at)..item.delete.end.max(item.at);
            for part in aim.into_iter().chain([own]) {
                span = Some(
                    span.map_or(part.clone(), |span| span.start.min(part.start)..span.end.max(part.end)),
                );
            }
        }
        let base = &self.base;
        let span =
            span.map(|span| (base.anchor(Utf16Offset(span.start)), base.anchor(Utf16Offset(span.end))));
        span.or(now).filter(|_| begins)
    }

    /// The span that others have to see before this is written; nothing if they see it already.
    pub(super) fn announce(&mut self, batch: &Batch, now: Instant) -> Option<(Anchor, Anchor)> {
        let span = batch.span?;
        let is_seen = |(told, at): &((Anchor, Anchor), Instant)| {
            *told == span && now >= *at + limits::PRESENCE_ENTRY_INTERVAL + limits::PRESENCE_INTERVAL
        };
        if self.sight.told.as_ref().is_some_and(is_seen) {
            return None;
        }
        self.sight = Sight {
            cursor: Some(span),
            status: "writing",
            stale: false,
            telling: self.sight.telling,
            seen: true,
            told: Some((span, now)),
            due: now + SPAN_TIME,
        };
        Some(span)
    }

    /// Takes note of what a write did.
    pub(super) fn finish_write(&mut self, batch: Batch, written: &Written, hunks: &mut Hunks) {
        self.under_way = None;
        self.tally.add(written);
        if let Some(hunk) = batch.take_back {
            for (old, new) in batch.returned {
                self.base.runs = renamed(&self.base.runs, old, new).into();
            }
            self.written.remove(&hunk);
            self.shifts.retain(|shift| shift.hunk != hunk);
            hunks.put(hunks.reverted(hunk, self.document, &self.path));
            return;
        }
        for ((item, edit), done) in batch.items.into_iter().zip(&batch.edits).zip(&written.edits) {
            let mut record = hunks.record(item.hunk, Some(self.document), &self.path);
            let is_missed = done.yielded && !self.written.contains(&item.hunk);
            record.state = if is_missed { HunkState::Missed } else { HunkState::Applied };
            if record.line.is_none() {
                record.line = Some(self.line_of(&item));
            }
            record.anchor.get_or_insert_with(|| edit.at.to_relative_position());
            let end = if item.delete.is_empty() {
                done.end
            } else {
                self.base.anchor(Utf16Offset(item.delete.end))
            };
            record.head = Some(end.to_relative_position());
            record.inserted += done.inserted;
            record.deleted += done.deleted;
            if done.yielded {
                record.reason = Some(YIELDED.to_owned());
            } else if done.missing > 0 {
                record.reason.get_or_insert_with(|| PART_GONE.to_owned());
            }
            hunks.put(record);
            if done.yielded {
                self.show_end(done);
                continue;
            }
            self.written.insert(item.hunk);

            if item.what == What::EditNow {
                // Its places are none of the base text.
                self.show_end(done);
                continue;
            }
            let removed = self.newlines_in(&item.delete);
            let added = item.insert.matches('\n').count() as i64;
            if added != removed {
                self.shifts.push(Shift { hunk: item.hunk, at: item.at, lines: added - removed });
            }
            if done.inserted > 0 {
                self.ends.insert(item.at, done.end);
            }
            if item.what == What::NewText {
                let units = inserted(done).into_iter().map(|units| BaseRun { offset: 0, units }).collect();
                self.base = BaseText { version: self.base.version, text: item.insert.into(), runs: units };
                self.lines = None;
                self.ends.clear();
                self.shifts.clear();
            }
            self.show_end(done);
        }
    }

    /// Others see the agent where it wrote last.
    fn show_end(&mut self, done: &WrittenEdit) {
        self.sight.cursor = Some((done.end, done.end));
        self.sight.status = "writing";
        self.sight.stale = true;
    }

    /// Takes note that a write was not done, and names its hunks.
    pub(super) fn fail_write(&mut self, batch: Batch) -> Vec<HunkId> {
        self.under_way = None;
        let mut hunks: Vec<HunkId> = batch.items.into_iter().map(|item| item.hunk).collect();
        hunks.dedup();
        hunks
    }

    fn anchored(&self, item: &Planned) -> AnchoredEdit {
        if let Some(now) = item.now.clone() {
            let insert = item.insert.clone();
            return AnchoredEdit { hunk: item.hunk, at: now.at, insert, delete: now.delete };
        }
        let delete = self.base.units(Utf16Offset(item.delete.start)..Utf16Offset(item.delete.end));
        let at = match item.what {
            What::TakeBack | What::NewText | What::EditNow => Anchor::Start,
            What::Edit => {
                self.ends.get(&item.at).copied().unwrap_or_else(|| self.base.anchor(Utf16Offset(item.at)))
            }
        };
        AnchoredEdit { hunk: item.hunk, at, insert: item.insert.clone(), delete }
    }

    /// The line an edit is at.
    fn line_of(&mut self, item: &Planned) -> u32 {
        match &item.now {
            Some(now) => now.line,
            None => self.line_at(item.at),
        }
    }

    /// The line of an offset of the base text, from 1, with the lines this turn has added and removed before it.
    fn line_at(&mut self, offset: u32) -> u32 {
        let base = &self.base;
        let index = self.lines.get_or_insert_with(|| TextIndex::new(Arc::clone(&base.text)));
        let line = index.line_column_of(Utf16Offset(offset)).map_or(0, |place| i64::from(place.line));
        let shift: i64 = self.shifts.iter().filter(|shift| shift.at < offset).map(|shift| shift.lines).sum();
        u32::try_from(line + shift + 1).unwrap_or(1)
    }

    fn newlines_in(&mut self, range: &Range<u32>) -> i64 {
        if range.is_empty() {
            return 0;
        }
        let base = &self.base;
        let index = self.lines.get_or_insert_with(|| TextIndex::new(Arc::clone(&base.text)));
        let line = |at: u32| index.line_column_of(Utf16Offset(at)).map_or(0, |place| i64::from(place.line));
        line(range.end) - line(range.start)
    }
}

/// The units an edit inserted, which are consecutive.
fn inserted(done: &WrittenEdit) -> Option<UnitRange> {
    match done.end {
        Anchor::After(unit) if done.inserted > 0 => Some(UnitRange {
            client: unit.client,
            clock: unit.clock + 1 - done.inserted,
            length: done.inserted,
        }),
        _ => None,
    }
}

/// Runs in which some units have become others.
fn renamed(runs: &[BaseRun], old: UnitRange, new: UnitRange) -> Vec<BaseRun> {
    let mut result = Vec::with_capacity(runs.len() + 2);
    for run in runs {
        let units = run.units;
        let (from, to) = (old.clock.max(units.clock), old.end().min(units.end()));
        if units.client != old.client || from >= to {
            result.push(*run);
            continue;
        }
        let part = |clock: u32, end: u32, client: u64, first: u32| {
            let units = UnitRange { client, clock: first, length: end - clock };
            (end > clock).then_some(BaseRun { offset: run.offset + (clock - run.units.clock), units })
        };
        result.extend(part(units.clock, from, units.client, units.clock));
        result.extend(part(from, to, new.client, new.clock + (from - old.clock)));
        result.extend(part(to, units.end(), units.client, to));
    }
    result
}

fn units(text: &str) -> u32 {
    text.encode_utf16().count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_returned_take_the_place_of_the_old_ones() {
        let range = |client, clock, length| UnitRange { client, clock, length };
        let run = |offset, units| BaseRun { offset, units };
        let runs = [run(0, range(1, 0, 4)), run(4, range(2, 0, 2)), run(6, range(1, 4, 6))];
        let expected = [
            run(0, range(1, 0, 2)),
            run(2, range(9, 50, 2)),
            run(4, range(2, 0, 2)),
            run(6, range(9, 52, 3)),
            run(9, range(1, 7, 3)),
        ];
        assert_eq!(renamed(&runs, range(1, 2, 5), range(9, 50, 5)), expected);
        assert_eq!(renamed(&runs, range(3, 0, 5), range(9, 50, 5)), runs);
    }
}

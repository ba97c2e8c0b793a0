//! What edits came to, as the turn that stands for them says it.

use std::collections::BTreeMap;

use ensemble_edit::{TextIndex, Utf16Offset};
use ensemble_protocol::id::{HunkId, TurnId};
use ensemble_protocol::rest::HunkState;
use ensemble_store::HunkRecord;
use ensemble_sync::room::{PreparedEdit, PreparedText};

use super::plan::FilePlan;
use crate::apply::{PART_GONE, YIELDED};

/// Said of a hunk whose old and new text are the same.
const NO_CHANGE: &str = "it changes nothing";

/// The hunks of one document, and how its edits will be seen.
pub(crate) struct Settled {
    /// What becomes of each hunk.
    pub(crate) hunks: Vec<HunkRecord>,
    /// Whether anything changes.
    pub(crate) changes: bool,
}

/// What became of a document's hunks, from what its edits will do.
pub(crate) fn settle(turn: TurnId, file: &FilePlan, prepared: &PreparedText) -> Settled {
    let lines = lines(file, prepared);
    let mut hunks: BTreeMap<HunkId, (HunkRecord, bool)> = BTreeMap::new();
    for hunk in &file.hunks {
        let record = HunkRecord {
            turn,
            hunk: *hunk,
            document: Some(file.document),
            path: file.path.clone(),
            state: HunkState::Applied,
            anchor: None,
            head: None,
            inserted: 0,
            deleted: 0,
            line: None,
            reason: None,
        };
        hunks.insert(*hunk, (record, false));
    }
    let mut changes = false;
    for (at, (edit, done)) in file.edits.iter().zip(&prepared.edits).enumerate() {
        let Some((record, is_cut)) = hunks.get_mut(&edit.hunk) else { continue };
        let written = done.written;
        record.line.get_or_insert(lines[at]);
        record.anchor.get_or_insert_with(|| edit.at.to_relative_position());
        record.head = Some(written.end.to_relative_position());
        record.inserted += written.inserted;
        record.deleted += written.deleted;
        *is_cut |= written.yielded || written.missing > 0;
        if written.yielded {
            record.reason = Some(YIELDED.into());
        } else if written.missing > 0 {
            record.reason.get_or_insert_with(|| PART_GONE.into());
        }
        changes |= written.inserted > 0 || written.deleted > 0;
    }
    let hunks = hunks
        .into_values()
        .map(|(record, is_cut)| match (record.inserted + record.deleted, is_cut) {
            (0, true) => HunkRecord { state: HunkState::Missed, ..record },
            (0, false) => HunkRecord { reason: Some(NO_CHANGE.into()), ..record },
            _ => record,
        })
        .collect();
    Settled { hunks, changes }
}

/// The line each edit begins at once all of them are made, from 1.
fn lines(file: &FilePlan, prepared: &PreparedText) -> Vec<u32> {
    let index = TextIndex::new(std::sync::Arc::clone(&prepared.text));
    // A place inside a character is not one of ours; the line before it is near enough to look at.
    let line = |at: u32| {
        let exact = index.line_column_of(Utf16Offset(at));
        exact
            .or_else(|| index.line_column_of(Utf16Offset(at.saturating_sub(1))))
            .map_or(0, |place| place.line)
    };
    let mut order: Vec<usize> = (0..prepared.edits.len()).collect();
    let begin = |done: &PreparedEdit| done.deleted.iter().map(|gone| gone.start).fold(done.at, u32::min);
    order.sort_by_key(|at| begin(&prepared.edits[*at]));
    let mut lines = vec![1; prepared.edits.len()];
    let mut shift = 0i64;
    for at in order {
        let done = &prepared.edits[at];
        lines[at] = u32::try_from(i64::from(line(begin(done))) + shift + 1).unwrap_or(1);
        if done.written.inserted > 0 {
            shift += file.edits[at].insert.matches('\n').count() as i64;
        }
        shift -= done.deleted.iter().map(|gone| i64::from(line(gone.end) - line(gone.start))).sum::<i64>();
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Range;

    use ensemble_protocol::id::{DocumentId, Version};
    use ensemble_sync::anchor::{Anchor, UnitRange};
    use ensemble_sync::room::{AnchoredEdit, WrittenEdit};

    use super::*;

    fn edit(
        hunk: u32,
        at: u32,
        delete: Range<u32>,
        insert: &str,
        yielded: bool,
    ) -> (AnchoredEdit, PreparedEdit) {
        let units = UnitRange { client: 7, clock: delete.start, length: delete.end - delete.start };
        let delete_units = if delete.is_empty() { Vec::new() } else { vec![units] };
        let edit = AnchoredEdit {
            hunk: HunkId(hunk),
            at: Anchor::Start,
            insert: insert.into(),
            delete: delete_units,
        };
        let (inserted, deleted) =
            if yielded { (0, 0) } else { (insert.len() as u32, delete.end - delete.start) };
        let missing = if yielded { delete.end - delete.start } else { 0 };
        let written = WrittenEdit { end: Anchor::Start, inserted, deleted, missing, yielded };
        let deleted = if yielded || delete.is_empty() { Vec::new() } else { vec![delete] };
        (edit, PreparedEdit { written, at, deleted })
    }

    #[test]
    fn hunks_say_what_they_did_and_where() {
        let turn = TurnId::from_slice(&[1; 16]).expect("sixteen bytes");
        let edits = [
            edit(1, 0, 0..2, "x\ny\nz\n", false),
            edit(2, 6, 4..6, "c\n", false),
            edit(3, 6, 6..8, "D\n", true),
        ];
        let (edits, done): (Vec<_>, Vec<_>) = edits.into_iter().unzip();
        let file = FilePlan {
            document: DocumentId::from_slice(&[2; 16]).expect("sixteen bytes"),
            path: "a".into(),
            version: Version { epoch: 1, seq: 1 },
            starts: vec![Anchor::Start; edits.len()],
            edits,
            hunks: BTreeSet::from([1, 2, 3, 4].map(HunkId)),
        };
        let prepared = PreparedText { edits: done, text: "a\nb\nC\nd\n".into() };
        let settled = settle(turn, &file, &prepared);
        let told: Vec<_> = settled
            .hunks
            .iter()
            .map(|hunk| (hunk.state, hunk.line, hunk.inserted, hunk.reason.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (HunkState::Applied, Some(1), 6, None),
                (HunkState::Applied, Some(5), 2, None),
                (HunkState::Missed, Some(6), 0, Some(YIELDED)),
                (HunkState::Applied, None, 0, Some(NO_CHANGE)),
            ]
        );
        assert!(settled.changes);
    }
}

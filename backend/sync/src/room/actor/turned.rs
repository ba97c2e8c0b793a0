//! A turn's edits of a text, encoded: what each does, which of them yield, and what the ledger says of them.

use std::sync::Arc;

use ensemble_protocol::id::TurnId;
use ensemble_store::{LedgerActor, LedgerEntry, LedgerKind};

use super::edits::texts_of;
use crate::admission::{Admitted, Refusal};
use crate::index::{Index, Stretch};
use crate::room::{AnchoredEdit, WrittenEdit};
use crate::writer::{self, EncodedEdit, ServerEdit};

/// A turn's edits, encoded under a client id of its own.
pub(super) struct Turned {
    /// What enters the document.
    pub(super) admitted: Admitted<'static>,
    /// For each edit, its units.
    pub(super) encoded: Vec<EncodedEdit>,
    /// For each edit, whether its text is left out.
    yielded: Vec<bool>,
}

impl Turned {
    /// Encodes edits under a client id whose next clock is `clock`.
    ///
    /// An edit yields when somebody has replaced all that it was to replace: what they wrote stays alone.
    pub(super) fn new(
        index: &Index,
        client: u64,
        clock: u32,
        edits: &[AnchoredEdit],
    ) -> Result<Self, Refusal> {
        let yielded: Vec<bool> = edits.iter().map(|edit| yields(index, edit)).collect();
        let server_edits: Vec<ServerEdit> = edits
            .iter()
            .zip(&yielded)
            .map(|(edit, yielded)| ServerEdit {
                at: edit.at,
                insert: if *yielded { String::new() } else { edit.insert.clone() },
                delete: edit.delete.clone(),
            })
            .collect();
        let (admitted, encoded) = writer::encode(index, client, clock, &server_edits)?;
        Ok(Self { admitted, encoded, yielded })
    }

    /// Units the edits insert.
    pub(super) fn inserted(&self) -> u64 {
        self.admitted.blocks.iter().map(|block| u64::from(block.units.length)).sum()
    }

    /// What each edit does.
    pub(super) fn written(&self) -> impl Iterator<Item = WrittenEdit> + '_ {
        self.encoded.iter().zip(&self.yielded).map(|(encoded, yielded)| WrittenEdit {
            end: encoded.end,
            inserted: encoded.inserted.map_or(0, |units| units.length),
            deleted: encoded.deleted.iter().map(|gone| gone.units.length).sum(),
            missing: encoded.missing,
            yielded: *yielded,
        })
    }

    /// The edits that are done, at least in part.
    ///
    /// What yields wants nothing gone: otherwise its hunk, which did nothing and cannot be rejected, would keep
    /// from coming back what another turn had deleted.
    pub(super) fn done<'e>(
        &'e self,
        edits: &'e [AnchoredEdit],
    ) -> impl Iterator<Item = (&'e AnchoredEdit, &'e EncodedEdit)> {
        let all = edits.iter().zip(&self.encoded).zip(&self.yielded);
        all.filter(|(_, yielded)| !**yielded).map(|(edit, _)| edit)
    }

    /// What the edits insert and delete, with the texts of what goes, in one walk over the text.
    pub(super) fn ledger(
        &self,
        turn: TurnId,
        edits: &[AnchoredEdit],
        text: impl FnOnce() -> Arc<str>,
    ) -> Vec<LedgerEntry> {
        let gone: Vec<Stretch> = self.encoded.iter().flat_map(|edit| edit.deleted.iter().copied()).collect();
        let texts = if gone.is_empty() { Vec::new() } else { texts_of(&text(), &gone) };
        let mut texts = texts.into_iter();
        let mut ledger = Vec::new();
        for (edit, encoded) in edits.iter().zip(&self.encoded) {
            let entry = |kind, client, clock, length, text| LedgerEntry {
                by: LedgerActor::Turn(turn),
                hunk: Some(edit.hunk),
                kind,
                client,
                clock,
                length,
                text,
                of: None,
            };
            if let Some(units) = encoded.inserted {
                ledger.push(entry(LedgerKind::Inserted, units.client, units.clock, units.length, None));
            }
            ledger.extend(encoded.deleted.iter().map(|gone| {
                let units = gone.units;
                entry(LedgerKind::Deleted, units.client, units.clock, units.length, texts.next())
            }));
        }
        ledger
    }
}

/// Whether all that an edit is to replace is gone: somebody has written something else there, and that stays.
fn yields(index: &Index, edit: &AnchoredEdit) -> bool {
    !edit.insert.is_empty()
        && !edit.delete.is_empty()
        && !edit.delete.iter().any(|range| index.any_visible(*range))
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::id::HunkId;

    use super::*;
    use crate::anchor::{Anchor, Unit, UnitRange};
    use crate::room::actor::edits::walked;

    /// A legitimate edit of a long text costs one walk over it, however many places it has.
    #[test]
    fn the_texts_of_what_goes_are_read_in_one_walk() {
        const EDITS: u32 = 20_000;
        const APART: u32 = 40;
        let text: Arc<str> = "0123456789".repeat((EDITS * APART / 10) as usize).into();
        let mut index = Index::new();
        index.insert(UnitRange { client: 7, clock: 0, length: EDITS * APART }, None, None, false);
        let edits: Vec<AnchoredEdit> = (0..EDITS)
            .map(|at| AnchoredEdit {
                hunk: HunkId(1),
                at: Anchor::After(Unit { client: 7, clock: at * APART + 4 }),
                insert: "x".into(),
                delete: vec![UnitRange { client: 7, clock: at * APART + 5, length: 1 }],
            })
            .collect();
        let turned = Turned::new(&index, 9, 0, &edits).expect("all places are known");
        let turn = TurnId::from_slice(&[1; 16]).expect("sixteen bytes");
        let before = walked();
        let ledger = turned.ledger(turn, &edits, || Arc::clone(&text));
        assert_eq!(ledger.len(), 2 * EDITS as usize);
        let gone = ledger.iter().filter(|entry| entry.kind == LedgerKind::Deleted);
        assert!(gone.clone().all(|entry| entry.text.as_deref() == Some("5")));
        assert_eq!(gone.count(), EDITS as usize);
        assert!(walked() - before <= text.len() + EDITS as usize, "{} of {}", walked() - before, text.len());
    }

    #[test]
    fn what_yields_neither_writes_nor_wants_anything_gone() {
        let units = |clock, length| UnitRange { client: 7, clock, length };
        let mut index = Index::new();
        index.insert(units(0, 4), None, None, false);
        index.delete(units(0, 2));
        let edit = |hunk, delete, insert: &str| AnchoredEdit {
            hunk: HunkId(hunk),
            at: Anchor::Start,
            insert: insert.into(),
            delete: vec![delete],
        };
        let edits = [edit(1, units(0, 2), "a"), edit(2, units(1, 2), "b"), edit(3, units(0, 1), "")];
        let turned = Turned::new(&index, 9, 0, &edits).expect("all places are known");
        let did: Vec<_> =
            turned.written().map(|edit| (edit.yielded, edit.inserted, edit.deleted, edit.missing)).collect();
        assert_eq!(did, [(true, 0, 0, 2), (false, 1, 1, 1), (false, 0, 0, 1)]);
        let done: Vec<_> = turned.done(&edits).map(|(edit, _)| edit.hunk).collect();
        assert_eq!(done, [HunkId(2), HunkId(3)]);
    }
}

//! Taking a turn back.
//!
//! The rule: a unit is visible when it was not inserted by a rejected turn and was not deleted, or was deleted
//! only by rejected turns. What the ledger says a turn inserted is deleted, wherever people moved it apart by
//! typing into it; what it deleted is inserted again right behind the place where it was, unless a rejected turn
//! had written it. What people typed is never touched.

use std::collections::BTreeSet;

use ensemble_protocol::id::TurnId;
use ensemble_store::{LedgerKind, StoredLedgerEntry};

use crate::anchor::{Anchor, UnitRange};
use crate::index::Index;
use crate::update::{utf16_len, utf16_prefix};
use crate::writer::ServerEdit;

/// What taking a turn back means for a document: one edit for each range of the ledger.
///
/// `ledger` is the document's, `rejected` the turns that were rejected before.
pub fn reject(
    index: &Index,
    ledger: &[StoredLedgerEntry],
    turn: TurnId,
    rejected: &BTreeSet<TurnId>,
) -> Vec<ServerEdit> {
    // Units that must not come back: inserted by a turn that is rejected, this one included.
    let withdrawn: Vec<UnitRange> = ledger
        .iter()
        .filter(|stored| {
            stored.entry.kind == LedgerKind::Inserted
                && (stored.entry.turn == turn || rejected.contains(&stored.entry.turn))
        })
        .map(range_of)
        .collect();
    let mut edits = Vec::new();
    for stored in ledger.iter().filter(|stored| stored.entry.turn == turn) {
        let range = range_of(stored);
        match stored.entry.kind {
            LedgerKind::Inserted => {
                if index.any_visible(range) {
                    edits.push(ServerEdit { at: Anchor::Start, insert: String::new(), delete: vec![range] });
                }
            }
            LedgerKind::Deleted => {
                let text = stored.entry.text.as_deref().unwrap_or_default();
                debug_assert_eq!(utf16_len(text), range.length, "a deleted range is kept with its text");
                for part in without(range, &withdrawn) {
                    let text = slice(text, part.clock - range.clock, part.length);
                    if !text.is_empty() {
                        edits.push(ServerEdit {
                            at: Anchor::After(part.last()),
                            insert: text,
                            delete: Vec::new(),
                        });
                    }
                }
            }
            LedgerKind::Withdrawn | LedgerKind::Restored => {}
        }
    }
    edits
}

fn range_of(stored: &StoredLedgerEntry) -> UnitRange {
    UnitRange { client: stored.entry.client, clock: stored.entry.clock, length: stored.entry.length }
}

/// The parts of a range that are in none of the others.
fn without(range: UnitRange, others: &[UnitRange]) -> Vec<UnitRange> {
    let mut parts = vec![range];
    for other in others.iter().filter(|other| other.client == range.client) {
        parts = parts
            .into_iter()
            .flat_map(|part| {
                let before = other.clock.clamp(part.clock, part.end()) - part.clock;
                let after_from = other.end().clamp(part.clock, part.end());
                let overlaps = other.clock < part.end() && part.clock < other.end();
                if !overlaps {
                    return vec![part];
                }
                let mut rest = Vec::new();
                if before > 0 {
                    rest.push(UnitRange { length: before, ..part });
                }
                if after_from < part.end() {
                    rest.push(UnitRange { clock: after_from, length: part.end() - after_from, ..part });
                }
                rest
            })
            .collect();
    }
    parts
}

/// A stretch of a text in UTF-16 units. A surrogate pair that is cut through is left out.
pub(crate) fn slice(text: &str, start: u32, length: u32) -> String {
    let (from, halved) = utf16_prefix(text, start);
    let rest = &text[from..];
    let (rest, length) = if halved {
        let mut characters = rest.chars();
        characters.next();
        (characters.as_str(), length.saturating_sub(1))
    } else {
        (rest, length)
    };
    let (to, _) = utf16_prefix(rest, length);
    rest[..to].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(client: u64, clock: u32, length: u32) -> UnitRange {
        UnitRange { client, clock, length }
    }

    /// [L4] What a rejected turn wrote is not brought back.
    #[test]
    fn what_a_rejected_turn_wrote_is_cut_out_of_what_comes_back() {
        assert_eq!(without(range(1, 0, 10), &[]), [range(1, 0, 10)]);
        assert_eq!(
            without(range(1, 0, 10), &[range(1, 3, 2), range(2, 0, 9)]),
            [range(1, 0, 3), range(1, 5, 5)]
        );
        assert_eq!(without(range(1, 0, 10), &[range(1, 0, 4), range(1, 8, 9)]), [range(1, 4, 4)]);
        assert!(without(range(1, 2, 2), &[range(1, 0, 9)]).is_empty());
    }

    #[test]
    fn texts_are_cut_by_units() {
        assert_eq!(slice("aé👩b", 1, 3), "é👩");
        assert_eq!(slice("aé👩b", 4, 9), "b");
        assert_eq!(slice("👩b", 1, 2), "b");
    }
}

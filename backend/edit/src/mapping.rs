//! How places of a base text move while people type, and what happens where a model and people change the
//! same block.
//!
//! A [`Mapping`] leads from one version of a text to a later one: which ranges were replaced, and how long
//! what replaced them is. Everything counts in UTF-16 units, as the editor and the CRDT do. Live documents need no
//! mapping, since each of their units has an id; this is for texts of which nothing but the texts is known.

use std::ops::Range;

use crate::diff::diff;
use crate::position::{TextIndex, Utf16Offset};
use crate::text_edit::{EditError, Utf16Edit};

/// A range of the base text that was replaced, and where its replacement stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// What was replaced, in the base text; empty where something was only inserted.
    pub base: Range<Utf16Offset>,
    /// What stands there now, in the current text; empty where something was only deleted.
    pub current: Range<Utf16Offset>,
}

/// The way from a base text to a later version of it.
///
/// The replaced ranges are in order and at least one kept unit lies between two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    changes: Vec<Replaced>,
}

/// Where a range of the base text is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The range in the current text. Where an end was replaced the range reaches over the replacement.
    pub range: Range<Utf16Offset>,
    /// Whether anything inside the range was replaced or inserted. What happened at its very ends counts only
    /// when it replaced a part of the range.
    pub touched: bool,
}

/// A change of a model that people's typing left no place for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// What the model wanted, in the base text; several edits where one change of people met several.
    pub edits: Vec<Utf16Edit>,
    /// What stands there now and stays, in the current text.
    pub current: Range<Utf16Offset>,
}

/// The edits of a model, carried over to the current text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// What is left to do, in the current text, in order and without overlap.
    pub edits: Vec<Utf16Edit>,
    /// What was not done because people had changed the same characters.
    pub overlaps: Vec<Overlap>,
}

impl Mapping {
    /// The mapping of one change: what it replaces, in order and without overlap, and how long each
    /// replacement is.
    pub fn new(replaced: impl IntoIterator<Item = (Range<Utf16Offset>, u32)>) -> Result<Self, EditError> {
        let mut changes: Vec<Replaced> = Vec::new();
        let mut end = 0;
        let mut shift = 0;
        for (base, inserted) in replaced {
            if base.end < base.start {
                return Err(EditError::Backwards(base.start.0 as usize));
            }
            if base.start.0 < end {
                return Err(EditError::Overlap(base.start.0 as usize));
            }
            end = base.end.0;
            if base.is_empty() && inserted == 0 {
                continue;
            }
            let start = moved(base.start, shift);
            let current = start..Utf16Offset(start.0 + inserted);
            shift += i64::from(inserted) - length(&base);
            push(&mut changes, Replaced { base, current });
        }
        Ok(Self { changes })
    }

    /// The mapping of edits of a text.
    pub fn of_edits(edits: &[Utf16Edit]) -> Result<Self, EditError> {
        Self::new(edits.iter().map(|edit| (edit.range.clone(), utf16_len(&edit.replacement))))
    }

    /// The mapping between two texts of which nothing else is known.
    pub fn between(base: &TextIndex, current: &str) -> Self {
        let edits = diff(base.text(), current).to_utf16(base);
        let mapping = edits.and_then(|edits| Self::of_edits(&edits));
        mapping.expect("a comparison yields edits in order and between characters")
    }

    /// The replaced ranges, in order.
    pub fn changes(&self) -> &[Replaced] {
        &self.changes
    }

    /// Whether the texts are the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Where a range of the base text is now.
    pub fn range(&self, range: &Range<Utf16Offset>) -> Mapped {
        let touched = self.changes_in(range);
        let inside = &self.changes[touched.clone()];
        let before = self.shift_before(touched.start);
        let after = self.shift_before(touched.end);
        let start = match inside.first() {
            Some(change) if change.base.start < range.start => change.current.start,
            _ => moved(range.start, before),
        };
        let end = match inside.last() {
            Some(change) if change.base.end > range.end => change.current.end,
            _ => moved(range.end, after),
        };
        Mapped { range: start..end, touched: !inside.is_empty() }
    }

    /// Carries a model's edits of the base text over to the current text.
    ///
    /// What does not overlap is done on both sides; where both inserted at the same place, people's text
    /// comes first. Where characters overlap, what people made of them stays and the model's edits are
    /// reported. A change both made alike is done once and reported by nobody.
    pub fn merge(&self, base: &TextIndex, edits: &[Utf16Edit], current: &TextIndex) -> Merged {
        let mut merged = Merged::default();
        let mut at = 0;
        while let Some(edit) = edits.get(at) {
            let touched = self.changes_in(&edit.range);
            if touched.is_empty() {
                if !self.inserted_alike(edit, current) {
                    let shift = self.shift_before(touched.start);
                    let range = moved(edit.range.start, shift)..moved(edit.range.end, shift);
                    merged.edits.push(Utf16Edit { range, replacement: edit.replacement.clone() });
                }
                at += 1;
                continue;
            }
            // All edits and changes that overlap one another are decided together.
            let mut changes = touched;
            let mut until = at + 1;
            while let Some(next) = edits.get(until) {
                let more = self.changes_in(&next.range);
                if more.is_empty() || more.start >= changes.end {
                    break;
                }
                changes.end = changes.end.max(more.end);
                until += 1;
            }
            let group = &edits[at..until];
            let people = &self.changes[changes.clone()];
            let (first, last) = (&people[0], &people[people.len() - 1]);
            let whole = first.base.start.min(group[0].range.start)
                ..last.base.end.max(group[group.len() - 1].range.end);
            let now = self.range(&whole).range;
            if slice(current, &now).is_none_or(|now| wanted(base, &whole, group).as_deref() != Some(now)) {
                let current = first.current.start..last.current.end;
                merged.overlaps.push(Overlap { edits: group.to_vec(), current });
            }
            at = until;
        }
        merged
    }

    /// The changes that overlap a range: they replaced a part of it, or inserted inside it.
    fn changes_in(&self, range: &Range<Utf16Offset>) -> Range<usize> {
        if range.is_empty() {
            // Only a replacement of what stands on both sides leaves no place here.
            let first = self.changes.partition_point(|change| change.base.end <= range.start);
            let inside = self.changes.get(first).is_some_and(|change| change.base.start < range.start);
            return first..first + usize::from(inside);
        }
        let first = self.changes.partition_point(|change| change.base.end <= range.start);
        let behind = self.changes[first..].partition_point(|change| change.base.start < range.end);
        first..first + behind
    }

    /// How far a place behind the first so many changes has moved.
    fn shift_before(&self, changes: usize) -> i64 {
        let last = changes.checked_sub(1).map(|last| &self.changes[last]);
        last.map_or(0, |change| i64::from(change.current.end.0) - i64::from(change.base.end.0))
    }

    /// Whether people inserted the same text at the same place.
    fn inserted_alike(&self, edit: &Utf16Edit, current: &TextIndex) -> bool {
        let behind = self.changes.partition_point(|change| change.base.end <= edit.range.end);
        let people = behind.checked_sub(1).map(|last| &self.changes[last]);
        edit.range.is_empty()
            && people.is_some_and(|change| {
                change.base == edit.range && slice(current, &change.current) == Some(&edit.replacement)
            })
    }
}

/// Appends a change, joined with the one before it when they touch.
fn push(changes: &mut Vec<Replaced>, change: Replaced) {
    match changes.last_mut() {
        Some(last) if last.base.end == change.base.start => {
            last.base.end = change.base.end;
            last.current.end = change.current.end;
        }
        _ => changes.push(change),
    }
}

fn length(range: &Range<Utf16Offset>) -> i64 {
    i64::from(range.end.0) - i64::from(range.start.0)
}

fn moved(at: Utf16Offset, shift: i64) -> Utf16Offset {
    Utf16Offset((i64::from(at.0) + shift).max(0) as u32)
}

fn utf16_len(text: &str) -> u32 {
    text.chars().map(|character| character.len_utf16() as u32).sum()
}

/// A part of a text; `None` where the range is not one of it.
fn slice<'a>(text: &'a TextIndex, range: &Range<Utf16Offset>) -> Option<&'a str> {
    let bytes = text.byte_range(range)?;
    Some(&text.text()[bytes.start.0..bytes.end.0])
}

/// What a model wants a range of the base text to be.
fn wanted(base: &TextIndex, whole: &Range<Utf16Offset>, edits: &[Utf16Edit]) -> Option<String> {
    let mut text = String::new();
    let mut at = whole.start;
    for edit in edits {
        text.push_str(slice(base, &(at..edit.range.start))?);
        text.push_str(&edit.replacement);
        at = edit.range.end;
    }
    text.push_str(slice(base, &(at..whole.end))?);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(range: Range<u32>) -> Range<Utf16Offset> {
        Utf16Offset(range.start)..Utf16Offset(range.end)
    }

    fn edit(range: Range<u32>, replacement: &str) -> Utf16Edit {
        Utf16Edit { range: at(range), replacement: replacement.to_owned() }
    }

    fn mapping(replaced: &[(Range<u32>, u32)]) -> Mapping {
        Mapping::new(replaced.iter().map(|(range, inserted)| (at(range.clone()), *inserted))).unwrap()
    }

    #[test]
    fn ranges_move_and_say_whether_they_were_touched() {
        // `0123456789` became `ab0123XY789`.
        let mapping = mapping(&[(0..0, 2), (4..7, 2)]);
        let table = [
            (0..4, 2..6, false),
            (0..0, 2..2, false),
            (4..4, 6..6, false),
            (1..5, 3..8, true),
            (5..6, 6..8, true),
            (5..5, 6..8, true),
            (7..10, 8..11, false),
            (0..10, 2..11, true),
        ];
        for (base, now, touched) in table {
            assert_eq!(mapping.range(&at(base.clone())), Mapped { range: at(now), touched }, "{base:?}");
        }
    }

    #[test]
    fn what_is_no_change_is_no_mapping() {
        assert!(Mapping::new([(Utf16Offset(3)..Utf16Offset(2), 0)]).is_err());
        assert!(Mapping::new([(at(0..2), 0), (at(1..3), 0)]).is_err());
        assert!(mapping(&[(4..4, 0)]).is_empty());
    }

    #[test]
    fn people_win_where_characters_overlap_and_the_rest_is_done() {
        let base = TextIndex::new("let x = compute(a, b);");
        let current = TextIndex::new("let x = calc(a, b); // sum");
        let mapping = mapping(&[(8..15, 4), (22..22, 7)]);
        let model = [edit(4..5, "total"), edit(8..15, "evaluate"), edit(19..20, "c")];
        let merged = mapping.merge(&base, &model, &current);
        assert_eq!(merged.edits, [edit(4..5, "total"), edit(16..17, "c")]);
        assert_eq!(merged.overlaps, [Overlap { edits: vec![model[1].clone()], current: at(8..12) }]);
        let alike = mapping.merge(&base, &[edit(8..15, "calc"), edit(22..22, " // sum")], &current);
        assert_eq!(alike, Merged::default());
        // Typing inside what the model deletes keeps the deletion away.
        let inside = mapping.merge(&base, &[edit(0..22, "")], &current);
        assert_eq!((inside.edits.len(), inside.overlaps.len()), (0, 1));
    }

    #[test]
    fn both_insert_at_one_place_and_people_come_first() {
        let base = TextIndex::new("ab");
        let current = TextIndex::new("aPb");
        let mapping = mapping(&[(1..1, 1)]);
        assert_eq!(mapping.merge(&base, &[edit(1..1, "M")], &current).edits, [edit(2..2, "M")]);
        assert_eq!(mapping.merge(&base, &[edit(0..1, "M")], &current).edits, [edit(0..1, "M")]);
        assert_eq!(mapping.merge(&base, &[edit(1..2, "M")], &current).edits, [edit(2..3, "M")]);
    }
}

//! Laws of mapping and merging, tried with random texts and edits.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::ops::Range;

use ensemble_edit::{EditScript, Mapping, TextIndex, Utf16Edit, Utf16Offset, diff};
use proptest::prelude::*;
use proptest::sample::Index;

/// Where something is typed, how many characters go, and what comes.
type Typed = (Index, usize, String);

fn typed(most: usize) -> impl Strategy<Value = Vec<Typed>> {
    prop::collection::vec((any::<Index>(), 0usize..6, "[a-cé😀\n]{0,4}"), 0..most)
}

/// One edit of a text, between characters.
fn edit_of(text: &str, (at, removed, inserted): &Typed) -> Utf16Edit {
    let index = TextIndex::new(text);
    let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let first = at.index(boundaries.len());
    let last = (first + removed).min(boundaries.len() - 1);
    let units = |at: usize| index.utf16_of(ensemble_edit::ByteOffset(boundaries[at])).unwrap();
    Utf16Edit { range: units(first)..units(last), replacement: inserted.clone() }
}

fn apply(text: &str, edits: Vec<Utf16Edit>) -> String {
    EditScript::from_utf16(edits, &TextIndex::new(text)).unwrap().apply(text).unwrap()
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn usize_range(range: &Range<Utf16Offset>) -> Range<usize> {
    range.start.0 as usize..range.end.0 as usize
}

/// Everything a mapping says was kept stands in both texts.
fn check(mapping: &Mapping, base: &str, current: &str) {
    let (base, current) = (units(base), units(current));
    let mut rebuilt: Vec<u16> = Vec::new();
    let mut at = 0;
    for change in mapping.changes() {
        let range = usize_range(&change.base);
        rebuilt.extend(&base[at..range.start]);
        assert_eq!(rebuilt.len(), change.current.start.0 as usize);
        rebuilt.extend(&current[usize_range(&change.current)]);
        at = range.end;
    }
    rebuilt.extend(&base[at..]);
    assert_eq!(rebuilt, current);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What a mapping between two texts says was kept was kept.
    #[test]
    fn a_mapping_leads_from_one_text_to_another(start in "[a-cé😀\n]{0,30}", typing in typed(8)) {
        let current = typing.iter().fold(start.clone(), |text, typed| apply(&text, vec![edit_of(&text, typed)]));
        let mapping = Mapping::between(&TextIndex::new(start.as_str()), &current);
        check(&mapping, &start, &current);
        // A range nobody touched has the text it had.
        let (before, now) = (units(&start), units(&current));
        for from in 0..before.len() {
            let range = Utf16Offset(from as u32)..Utf16Offset(before.len().min(from + 3) as u32);
            let mapped = mapping.range(&range);
            prop_assert!(mapped.range.start <= mapped.range.end && mapped.range.end.0 as usize <= now.len());
            if !mapped.touched {
                prop_assert_eq!(&before[usize_range(&range)], &now[usize_range(&mapped.range)]);
            }
        }
    }

    /// Where people and a model change different lines the result is the three-way merge.
    #[test]
    fn separate_lines_merge(
        lines in prop::collection::vec("[a-cé😀]{0,6}", 1..25),
        model in prop::collection::vec((any::<Index>(), "[x-z]{0,4}(\n[x-z]{0,3})?"), 0..4),
        people in prop::collection::vec((any::<Index>(), "[p-r]{0,4}(\n[p-r]{0,3})?"), 0..4),
    ) {
        let text = |lines: &[String]| -> String { lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect() };
        let (mut ours, mut theirs, mut both) = (lines.clone(), lines.clone(), lines.clone());
        let mut taken = vec![false; lines.len()];
        for (at, line) in &model {
            let at = at.index(lines.len());
            (ours[at], both[at], taken[at]) = (line.clone(), line.clone(), true);
        }
        for (at, line) in &people {
            let at = at.index(lines.len());
            if !taken[at] {
                (theirs[at], both[at]) = (line.clone(), line.clone());
            }
        }
        let base = TextIndex::new(text(&lines));
        let current = TextIndex::new(text(&theirs));
        let mapping = Mapping::of_edits(&line_edits(&lines, &theirs)).unwrap();
        let edits = line_edits(&lines, &ours);
        let merged = mapping.merge(&base, &edits, &current);
        prop_assert_eq!(&merged.overlaps, &[]);
        prop_assert_eq!(apply(current.text(), merged.edits), text(&both));
    }

    /// Whatever people and a model do, the merge applies, and every character people typed stays.
    #[test]
    fn people_keep_what_they_typed(
        start in "[a-cé😀\n]{0,30}",
        typing in typed(8),
        wanted in typed(8),
    ) {
        let mut current = start.clone();
        for typed in &typing {
            let upper = (typed.0, typed.1, typed.2.to_uppercase());
            let edit = edit_of(&current, &upper);
            current = apply(&current, vec![edit]);
        }
        let mut new = start.clone();
        for typed in &wanted {
            new = apply(&new, vec![edit_of(&new, typed)]);
        }
        let base = TextIndex::new(start.as_str());
        let now = TextIndex::new(current.as_str());
        let mapping = Mapping::between(&base, &current);
        let edits = diff(&start, &new).to_utf16(&base).unwrap();
        let merged = mapping.merge(&base, &edits, &now);
        for overlap in &merged.overlaps {
            prop_assert!(!overlap.edits.is_empty());
        }
        let result = apply(&current, merged.edits);
        let capitals = |text: &str| text.chars().filter(|one| one.is_uppercase()).collect::<String>();
        prop_assert_eq!(capitals(&result), capitals(&current));
        if mapping.is_empty() {
            prop_assert_eq!(result, new);
        }
    }
}

/// The smallest edits of each line that changed, so that no edit reaches into another line.
fn line_edits(old: &[String], new: &[String]) -> Vec<Utf16Edit> {
    let mut edits = Vec::new();
    let mut start = 0;
    for (old, new) in old.iter().zip(new) {
        let index = TextIndex::new(old.as_str());
        edits.extend(diff(old, new).to_utf16(&index).unwrap().into_iter().map(|edit| Utf16Edit {
            range: Utf16Offset(edit.range.start.0 + start)..Utf16Offset(edit.range.end.0 + start),
            ..edit
        }));
        start += index.utf16_len().0 + 1;
    }
    edits
}

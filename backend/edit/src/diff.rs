//! The smallest edit script between two texts, at a bounded cost.
//!
//! Lines are compared first, then words inside the lines that changed, and of a changed word only the
//! characters between the common start and end are replaced. Replacing whole words instead of scattered
//! letters keeps what a person sees readable. No edit cuts a grapheme or a `\r\n` in two.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};
use unicode_segmentation::UnicodeSegmentation;

use crate::text_edit::{EditScript, TextEdit};

/// Lines of both texts together, between the common start and end, up to which lines are compared. Beyond
/// it the whole middle is replaced; documents are far smaller, so this only bounds memory.
const MAX_LINES: usize = 1_000_000;

/// Words of both sides together up to which a changed block is compared word by word; at this size the
/// worst comparison takes some hundred milliseconds. A longer block, such as one line of a megabyte, is
/// compared by pieces of many words first, and only pieces that changed by words.
const MAX_WORDS: usize = 100_000;

/// The longest line or word, in bytes, that the comparison may read over and over; where there are longer
/// ones numbers are compared instead, which costs more than it saves for short ones.
const MAX_READ_AGAIN: usize = 256;

/// Words in a piece, on average.
const PIECE_WORDS: u64 = 16;

/// Words that decide together whether a piece ends behind them, so that pieces are cut at the same places
/// again soon behind a change.
const PIECE_WINDOW: usize = 3;

/// The smallest edits that turn `old` into `new`.
///
/// Applying the result to `old` always gives `new`. The cost grows with the length of the texts, and with
/// the amount of change only up to the bounds named in this file.
pub fn diff(old: &str, new: &str) -> EditScript {
    let mut edits = Vec::new();
    diff_lines(old, new, &mut edits);
    EditScript::new(edits).expect("the comparison yields edits in order")
}

/// The stretches of two lists of lines that differ, as numbers of lines.
pub(crate) fn diff_of_lines(old: &[String], new: &[String]) -> Vec<(Range<usize>, Range<usize>)> {
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let (start, end) = common_ends(&old, &new);
    let (old, new) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    if old.is_empty() || new.is_empty() || old.len() + new.len() > MAX_LINES {
        return vec![(start..start + old.len(), start..start + new.len())];
    }
    let ops = capture_diff_slices(Algorithm::Myers, old, new);
    let changed = ops.into_iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    let moved = |range: Range<usize>| range.start + start..range.end + start;
    changed.map(|op| (moved(op.old_range()), moved(op.new_range()))).collect()
}

/// The part of two texts that is in both, from 0 to 1, counted in bytes of whole words and without blanks.
///
/// Texts with more than [`MAX_WORDS`] words are only alike in what they share at both ends.
pub(crate) fn similarity(old: &str, new: &str) -> f64 {
    let solid = |pieces: &[&str]| -> usize {
        pieces.iter().filter(|piece| !piece.trim().is_empty()).map(|piece| piece.len()).sum()
    };
    let (old_words, new_words) = (words(old), words(new));
    let all = solid(&old_words) + solid(&new_words);
    if all == 0 {
        return 1.0;
    }
    let mut different = 0;
    let (start, end) = common_ends(&old_words, &new_words);
    let old_words = &old_words[start..old_words.len() - end];
    let new_words = &new_words[start..new_words.len() - end];
    compare(old_words, new_words, MAX_WORDS, 0, &mut |_, removed, inserted| {
        different += solid(removed) + solid(inserted);
    });
    1.0 - different as f64 / all as f64
}

/// Compares by lines and hands changed blocks on.
fn diff_lines(old: &str, new: &str, edits: &mut Vec<TextEdit>) {
    let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new.split_inclusive('\n').collect();
    let (start, end) = common_ends(&old_lines, &new_lines);
    let skipped: usize = old_lines[..start].iter().map(|line| line.len()).sum();
    let old_lines = &old_lines[start..old_lines.len() - end];
    let new_lines = &new_lines[start..new_lines.len() - end];
    compare(old_lines, new_lines, MAX_LINES, skipped, &mut |at, removed, inserted| {
        if removed.is_empty() || inserted.is_empty() {
            push(edits, at, removed.concat().len(), &inserted.concat());
        } else {
            diff_words(&removed.concat(), &inserted.concat(), at, edits);
        }
    });
}

/// Compares two changed blocks by words and trims what two replaced words have in common.
fn diff_words(old: &str, new: &str, at: usize, edits: &mut Vec<TextEdit>) {
    let old_words = words(old);
    let new_words = words(new);
    let (start, end) = common_ends(&old_words, &new_words);
    let skipped: usize = old_words[..start].iter().map(|word| word.len()).sum();
    let old_words = &old_words[start..old_words.len() - end];
    let new_words = &new_words[start..new_words.len() - end];
    let at = at + skipped;
    if old_words.len() + new_words.len() <= MAX_WORDS {
        compare_words(old_words, new_words, at, edits);
        return;
    }
    let old_pieces = pieces(old_words);
    let new_pieces = pieces(new_words);
    let old_pieces: Vec<&str> = old_pieces.iter().map(String::as_str).collect();
    let new_pieces: Vec<&str> = new_pieces.iter().map(String::as_str).collect();
    compare(&old_pieces, &new_pieces, MAX_WORDS, at, &mut |at, removed, inserted| {
        compare_words(&words(&removed.concat()), &words(&inserted.concat()), at, edits);
    });
}

/// Compares words up to [`MAX_WORDS`] of them; beyond, only their common start and end are kept.
fn compare_words(old: &[&str], new: &[&str], at: usize, edits: &mut Vec<TextEdit>) {
    compare(old, new, MAX_WORDS, at, &mut |at, removed, inserted| {
        replace_trimmed(&removed.concat(), &inserted.concat(), at, edits);
    });
}

/// Joins words to pieces, cut where the last few words say so and nothing else does.
fn pieces(words: &[&str]) -> Vec<String> {
    let mut pieces = Vec::with_capacity(words.len() / PIECE_WORDS as usize + 1);
    let mut piece = String::new();
    for (at, word) in words.iter().enumerate() {
        piece.push_str(word);
        let mut hasher = DefaultHasher::new();
        words[(at + 1).saturating_sub(PIECE_WINDOW)..=at].hash(&mut hasher);
        if hasher.finish().is_multiple_of(PIECE_WORDS) {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// Replaces what is left between the common start and end, cut at graphemes.
fn replace_trimmed(old: &str, new: &str, at: usize, edits: &mut Vec<TextEdit>) {
    let same = |(left, right): &(&str, &str)| left == right;
    let start: usize =
        old.graphemes(true).zip(new.graphemes(true)).take_while(same).map(|(mark, _)| mark.len()).sum();
    let (old, new) = (&old[start..], &new[start..]);
    let backwards = old.graphemes(true).rev().zip(new.graphemes(true).rev());
    let end: usize = backwards.take_while(same).map(|(mark, _)| mark.len()).sum();
    push(edits, at + start, old.len() - end, &new[..new.len() - end]);
}

/// Appends an edit, joined with the one before it when they touch.
fn push(edits: &mut Vec<TextEdit>, at: usize, removed: usize, inserted: &str) {
    if removed == 0 && inserted.is_empty() {
        return;
    }
    if let Some(last) = edits.last_mut()
        && last.range.end.0 == at
    {
        last.range.end.0 = at + removed;
        last.replacement.push_str(inserted);
        return;
    }
    edits.push(TextEdit::new(at..at + removed, inserted));
}

/// Finds the changed stretches of two lists of pieces; `at` is the byte position of the first old piece.
fn compare<'a>(
    old: &[&'a str],
    new: &[&'a str],
    limit: usize,
    at: usize,
    changed: &mut impl FnMut(usize, &[&'a str], &[&'a str]),
) {
    if old.is_empty() && new.is_empty() {
        return;
    }
    if old.is_empty() || new.is_empty() || old.len() + new.len() > limit {
        changed(at, old, new);
        return;
    }
    let ops = if old.iter().chain(new).all(|piece| piece.len() <= MAX_READ_AGAIN) {
        capture_diff_slices(Algorithm::Myers, old, new)
    } else {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut number = |piece: &&'a str| {
            let next = known.len() as u32;
            *known.entry(piece).or_insert(next)
        };
        let old_numbers: Vec<u32> = old.iter().map(&mut number).collect();
        let new_numbers: Vec<u32> = new.iter().map(&mut number).collect();
        capture_diff_slices(Algorithm::Myers, &old_numbers, &new_numbers)
    };
    let mut position = at;
    for op in ops {
        let removed = &old[op.old_range()];
        if !matches!(op, DiffOp::Equal { .. }) {
            changed(position, removed, &new[op.new_range()]);
        }
        position += removed.iter().map(|piece| piece.len()).sum::<usize>();
    }
}

/// How many pieces two lists share at the start and, of the rest, at the end.
fn common_ends(old: &[&str], new: &[&str]) -> (usize, usize) {
    let start = old.iter().zip(new).take_while(|(left, right)| left == right).count();
    let end = old[start..]
        .iter()
        .rev()
        .zip(new[start..].iter().rev())
        .take_while(|(left, right)| left == right)
        .count();
    (start, end)
}

/// Splits into words, stretches of blanks and single other characters, never inside a grapheme.
fn words(text: &str) -> Vec<&str> {
    #[derive(PartialEq)]
    enum Class {
        Word,
        Blank,
        Other,
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut class = Class::Other;
    let mut take = |at: usize, first: char| {
        let next = if first.is_alphanumeric() || first == '_' {
            Class::Word
        } else if first == ' ' || first == '\t' {
            Class::Blank
        } else {
            Class::Other
        };
        if at > start && (next != class || next == Class::Other) {
            pieces.push(&text[start..at]);
            start = at;
        }
        class = next;
    };
    if text.is_ascii() && !text.contains('\r') {
        // Here every byte is a grapheme, which need not be looked up.
        text.bytes().enumerate().for_each(|(at, byte)| take(at, char::from(byte)));
    } else {
        text.grapheme_indices(true).for_each(|(at, mark)| take(at, mark.chars().next().unwrap_or(' ')));
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> Vec<(usize, String, String)> {
        let script = diff(old, new);
        assert_eq!(script.apply(old).unwrap(), new);
        script
            .edits()
            .iter()
            .map(|edit| {
                let (start, end) = (edit.range.start.0, edit.range.end.0);
                (start, old[start..end].to_owned(), edit.replacement.clone())
            })
            .collect()
    }

    #[test]
    fn only_what_changed_is_replaced() {
        type Edits<'a> = &'a [(usize, &'a str, &'a str)];
        let table: &[(&str, &str, Edits<'_>)] = &[
            ("", "", &[]),
            ("a\n", "a\n", &[]),
            ("", "a\n", &[(0, "", "a\n")]),
            ("a\nb\nc\n", "a\nc\n", &[(2, "b\n", "")]),
            ("a\nc\n", "a\nb\nc\n", &[(2, "", "b\n")]),
            ("let x = 1;\n", "let total = 1;\n", &[(4, "x", "total")]),
            ("foo_bar\n", "foo_baz\n", &[(6, "r", "z")]),
            ("  x\n", "    x\n", &[(2, "", "  ")]),
            ("a", "a\nb\n", &[(1, "", "\nb\n")]),
            ("a\r\n", "a\n", &[(1, "\r\n", "\n")]),
        ];
        for (old, new, expected) in table {
            let expected: Vec<_> = expected
                .iter()
                .map(|(at, left, right)| (*at, (*left).to_owned(), (*right).to_owned()))
                .collect();
            assert_eq!(shown(old, new), expected, "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn graphemes_are_never_cut() {
        // The families differ in one member in the middle of one grapheme.
        let (old, new) = ("x👨‍👩‍👧y\n", "x👨‍👩‍👦y\n");
        assert_eq!(shown(old, new), [(1, "👨‍👩‍👧".to_owned(), "👨‍👩‍👦".to_owned())]);
        assert_eq!(shown("e\u{301}\n", "e\n"), [(0, "e\u{301}".to_owned(), "e".to_owned())]);
    }

    #[test]
    fn big_texts_are_compared_at_a_bounded_cost() {
        let text = |number: fn(u32) -> u32| {
            let lines: Vec<String> = (0..50_000).map(|line| format!("line {}\n", number(line))).collect();
            lines.concat()
        };
        let old = text(|line| line % 977);
        let new = text(|line| (line * 7) % 1013);
        assert_eq!(diff(&old, &new).apply(&old).unwrap(), new);
        let long_line = "a b ".repeat(100_000);
        let changed = long_line.replacen("a b a", "a c a", 1);
        assert_eq!(shown(&long_line, &changed).len(), 1);
        // A minified file of a megabyte in one line, changed in three places.
        let statements: Vec<String> = (0..60_000).map(|n| format!("var v{n}=f({n});")).collect();
        let minified = statements.concat();
        let changed =
            minified.replacen("v17=", "w=", 1).replacen("v30000=", "w=", 1).replacen("v59999=", "w=", 1);
        let edits = shown(&minified, &changed);
        assert_eq!(edits.len(), 3);
        assert!(edits.iter().all(|(_, removed, _)| removed.len() <= 6), "{edits:?}");
    }
}

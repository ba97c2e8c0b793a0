//! Cutting pieces out of the ledger's texts.

use std::collections::HashMap;

use crate::update::{utf16_len, utf16_prefix};

/// Units between two marks of a text: what a cut walks over at the most to find its place.
const MARK_UNITS: u32 = 256;

/// Cuts texts by UTF-16 units, each as often and in whatever order, without walking over all of it each time: a text
/// of a million units comes back in as many pieces as people have wanted parts of it gone.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// By where a text lies: for each so many units the units and bytes before the character that has that unit.
    marks: HashMap<usize, Vec<(u32, usize)>>,
    /// Units that were walked over to find places.
    #[cfg(test)]
    walked: u64,
}

impl Cuts {
    /// A stretch of a text, how many units were left out before it, and its length. Half a surrogate pair is left
    /// out.
    ///
    /// Texts are told apart by where they lie, so they must stay there for as long as this is used.
    pub(super) fn cut(&mut self, text: &str, start: u32, length: u32) -> (String, u32, u32) {
        let marks = self.marks.entry(text.as_ptr().addr()).or_insert_with(|| marks_of(text));
        let nearest = marks.len().min((start / MARK_UNITS) as usize + 1);
        let (units, bytes) = nearest.checked_sub(1).map_or((0, 0), |nearest| marks[nearest]);
        #[cfg(test)]
        {
            self.walked += u64::from(start - units);
        }
        let (skipped, halved) = utf16_prefix(&text[bytes..], start - units);
        let from = bytes + skipped;
        let (rest, lost) = if halved {
            let mut characters = text[from..].chars();
            characters.next();
            (characters.as_str(), 1)
        } else {
            (&text[from..], 0)
        };
        let (to, _) = utf16_prefix(rest, length.saturating_sub(lost));
        let text = rest[..to].to_owned();
        let length = utf16_len(&text);
        (text, lost, length)
    }
}

fn marks_of(text: &str) -> Vec<(u32, usize)> {
    let mut marks = Vec::new();
    let (mut units, mut next) = (0, 0);
    for (bytes, character) in text.char_indices() {
        let end = units + character.len_utf16() as u32;
        if end > next {
            marks.push((units, bytes));
            next += MARK_UNITS;
        }
        units = end;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_units() {
        let mut cuts = Cuts::default();
        let (first, second) = ("aé👩b", "👩b");
        assert_eq!(cuts.cut(first, 1, 3), ("é👩".into(), 0, 3));
        assert_eq!(cuts.cut(first, 4, 9), ("b".into(), 0, 1));
        assert_eq!(cuts.cut(first, 50, 9), (String::new(), 0, 0));
        assert_eq!(cuts.cut(second, 1, 2), ("b".into(), 1, 1));
        assert_eq!(cuts.cut(second, 0, 1), (String::new(), 0, 0));
        assert_eq!(cuts.cut("", 3, 1), (String::new(), 0, 0));
    }

    #[test]
    fn a_long_text_is_cut_anywhere() {
        let text: String =
            (0..2_000_u32).map(|at| ["a", "é", "👩", "€"][(at * at % 7 % 4) as usize]).collect();
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut cuts = Cuts::default();
        for start in (0..units.len()).rev().chain(0..units.len()) {
            let end = (start + 5).min(units.len());
            let whole = char::decode_utf16(units[start..end].iter().copied());
            let expected: String = whole.filter_map(Result::ok).collect();
            let (cut, lost, length) = cuts.cut(&text, start as u32, 5);
            assert_eq!((&cut, length), (&expected, utf16_len(&expected)), "from {start}");
            assert_eq!(lost == 1, (0xdc00..0xe000).contains(&units[start]), "from {start}");
        }
    }

    #[test]
    fn a_text_in_very_many_pieces_is_not_walked_over_for_each() {
        let pieces = 100_000;
        let text = "a".repeat(pieces as usize);
        let mut cuts = Cuts::default();
        for start in (0..pieces).chain((0..pieces).rev()) {
            assert_eq!(cuts.cut(&text, start, 1).2, 1);
        }
        assert!(cuts.walked < 2 * u64::from(pieces) * u64::from(MARK_UNITS), "{} units", cuts.walked);
    }
}

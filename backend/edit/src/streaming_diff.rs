//! A line comparison while the new text is still arriving.
//!
//! Lines that go on as the old text does are kept at once. Where they stop doing so, what arrives is held
//! back until three lines in a row stand further down in the old text, at the nearest place they do; what
//! lies between is then replaced. The part of the old text behind what has arrived is never given up before
//! the end.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

/// Lines in a row that must agree before the texts count as in step again. One or two lines, such as a
/// closing brace and an empty line, agree by chance all over a file.
pub const RESYNC_LINES: usize = 3;

/// Old lines and the new ones that take their place; everything before them is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The old lines, by number from zero; empty for an insertion in front of the first.
    pub old: Range<usize>,
    /// What comes; empty for a deletion.
    pub new: Vec<String>,
}

/// The comparison of an old text, cut into lines, with one that arrives line by line.
///
/// What it settles depends on the lines alone. Each line costs the same, however long the texts are.
#[derive(Debug)]
pub struct StreamingDiff {
    old: Vec<String>,
    /// Where every three old lines in a row start, by a hash of them, ascending.
    places: HashMap<u64, Vec<usize>>,
    /// The first old line nothing is known about.
    at: usize,
    /// New lines that wait.
    waiting: Vec<String>,
}

impl StreamingDiff {
    /// A comparison with an old text; lines may have their line ends or not, as long as new ones do alike.
    pub fn new(old: Vec<String>) -> Self {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (start, lines) in old.windows(RESYNC_LINES).enumerate() {
            if is_telling(lines) {
                places.entry(hash_of(lines)).or_default().push(start);
            }
        }
        Self { old, places, at: 0, waiting: Vec::new() }
    }

    /// Takes the next new line and returns what it settles.
    pub fn push(&mut self, line: &str) -> Option<Replacement> {
        if self.waiting.is_empty() && self.old.get(self.at).is_some_and(|old| old == line) {
            self.at += 1;
            return None;
        }
        self.waiting.push(line.to_owned());
        let first = self.waiting.len().checked_sub(RESYNC_LINES)?;
        let place = self.place_of(first)?;
        let old = self.at..place;
        self.waiting.truncate(first);
        self.at = place + RESYNC_LINES;
        Some(Replacement { old, new: std::mem::take(&mut self.waiting) })
    }

    /// Takes the end of the new text: the rest of the old one goes.
    pub fn finish(self) -> Option<Replacement> {
        let old = self.at..self.old.len();
        (!old.is_empty() || !self.waiting.is_empty()).then_some(Replacement { old, new: self.waiting })
    }

    /// The nearest old lines that agree with the last waiting ones.
    fn place_of(&self, first: usize) -> Option<usize> {
        let lines = &self.waiting[first..];
        let places = self.places.get(&hash_of(lines))?;
        let nearest = places.partition_point(|&place| place < self.at);
        let place = *places.get(nearest)?;
        (self.old[place..place + RESYNC_LINES] == *lines).then_some(place)
    }
}

/// Whether lines have more than brackets and blanks in common with others.
fn is_telling(lines: &[String]) -> bool {
    lines.iter().any(|line| line.chars().any(char::is_alphanumeric))
}

fn hash_of(lines: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    lines.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(ToOwned::to_owned).collect()
    }

    fn replaced(old: &str, new: &str) -> Vec<(Range<usize>, String, bool)> {
        let mut diff = StreamingDiff::new(lines(old));
        let mut found: Vec<_> = lines(new)
            .iter()
            .filter_map(|line| diff.push(line))
            .map(|step| (step.old, step.new.join(" "), false))
            .collect();
        found.extend(diff.finish().map(|step| (step.old, step.new.join(" "), true)));
        found
    }

    #[test]
    fn changes_settle_when_three_lines_are_in_step_again() {
        assert_eq!(replaced("a b c d e f", "a X c d e f"), [(1..2, "X".to_owned(), false)]);
        assert_eq!(replaced("a b c d e f", "a X b c d e f"), [(1..1, "X".to_owned(), false)]);
        assert_eq!(replaced("a b c d e f", "a d e f"), [(1..3, String::new(), false)]);
        assert_eq!(replaced("a b c d", "a b c d"), []);
        // Two lines are not enough to let go of what lies between.
        assert_eq!(replaced("a b c d", "a X c d"), [(1..4, "X c d".to_owned(), true)]);
        assert_eq!(replaced("a b c d", "a b"), [(2..4, String::new(), true)]);
        assert_eq!(replaced("", "a b"), [(0..0, "a b".to_owned(), true)]);
        // The nearest of two places is taken, and brackets alone tell nothing.
        assert_eq!(replaced("a x y z b x y z", "a Q x y z b x y z"), [(1..1, "Q".to_owned(), false)]);
        assert_eq!(replaced("a { } ; b", "Q { } ;"), [(0..5, "Q { } ;".to_owned(), true)]);
    }
}

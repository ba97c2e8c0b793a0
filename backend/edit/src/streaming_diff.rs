//! A line comparison while the new text is still arriving.
//!
//! Lines that go on as the old text does are kept at once. Where they stop doing so, what arrives is held
//! back until three lines in a row stand in the old text again. Where they are the next ones there, lines
//! were only inserted, which is settled at once. Where they stand further down, the lines between seem to be
//! gone; but a new block often resembles others, and what it was put in front of comes after it. So lines only
//! go once more lines behind them have come than are missing, among them three in a row that stand in one
//! place only. Until then they may come after all, which takes the guess back. The part of the old text behind
//! what has arrived is never given up before the end.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

/// Lines in a row that must agree before the texts count as in step again. One or two lines, such as a
/// closing brace and an empty line, agree by chance all over a file.
pub const RESYNC_LINES: usize = 3;

/// Old lines and the new ones that take their place; everything before them is settled.
///
/// Some of the new ones may be the same as old ones: what differs is found by comparing both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The old lines, by number from zero; empty for an insertion in front of the first.
    pub old: Range<usize>,
    /// What comes; empty for a deletion.
    pub new: Vec<String>,
}

/// The comparison of an old text, cut into lines, with one that arrives line by line.
///
/// What it settles depends on the lines alone. Each line costs the same, however long the texts are, but for
/// the search among places that look alike, which costs their logarithm, and for guesses taken back, each of
/// which was made once.
#[derive(Debug)]
pub struct StreamingDiff {
    old: Vec<String>,
    /// Where every three old lines in a row start, by a hash of them, ascending.
    places: HashMap<u64, Vec<usize>>,
    /// The first old line nothing is settled about.
    at: usize,
    /// New lines that wait: everything since `at`.
    unsettled: Vec<String>,
    /// How many of them belong to guesses already.
    explained: usize,
    /// How the waiting lines may go on in the old text, jump by jump.
    guesses: Vec<Guess>,
}

/// A place further down in the old text at which the new one seems to go on.
#[derive(Clone, Copy, Debug)]
struct Guess {
    /// The old line that was next before.
    from: usize,
    /// Old lines that are gone if this and the guesses before it are right.
    dropped: usize,
    /// Lines in step since the first guess, those of the guesses before included.
    matched: usize,
    /// Lines in step since this one.
    run: usize,
    /// Whether three of them stand nowhere else in the old text, or nothing speaks for another place.
    is_certain: bool,
    /// The old line that is next.
    next: usize,
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
        Self { old, places, at: 0, unsettled: Vec::new(), explained: 0, guesses: Vec::new() }
    }

    /// Takes the next new line and returns what it settles.
    pub fn push(&mut self, line: &str) -> Option<Replacement> {
        if self.unsettled.is_empty() && self.old.get(self.at).is_some_and(|old| old == line) {
            self.at += 1;
            return None;
        }
        let is_in_step = self.explained == self.unsettled.len();
        self.unsettled.push(line.to_owned());
        match self.guesses.last_mut() {
            Some(guess) if is_in_step && self.old.get(guess.next).is_some_and(|old| old == line) => {
                guess.next += 1;
                guess.run += 1;
                guess.matched += 1;
                if !guess.is_certain {
                    let last = &self.old[guess.next - RESYNC_LINES..guess.next];
                    guess.is_certain =
                        self.places.get(&hash_of(last)).is_some_and(|places| places.len() == 1);
                }
                self.explained += 1;
            }
            _ => self.guess()?,
        }
        self.settle()
    }

    /// Takes the end of the new text: the rest of the old one goes.
    pub fn finish(self) -> Option<Replacement> {
        let old = self.at..self.old.len();
        (!old.is_empty() || !self.unsettled.is_empty()).then_some(Replacement { old, new: self.unsettled })
    }

    /// The old lines that have not come, and the new ones that stand for none of them so far.
    pub fn rest(&self) -> (&[String], &[String]) {
        let next = self.guesses.last().map_or(self.at, |guess| guess.next);
        (&self.old[next..], &self.unsettled[self.explained..])
    }

    /// Guesses where the text goes on, by the last waiting lines; `None` where they stand nowhere.
    fn guess(&mut self) -> Option<()> {
        let first = self.unsettled.len().checked_sub(RESYNC_LINES)?;
        let lines = &self.unsettled[first..];
        let places = self.places.get(&hash_of(lines))?;
        let nearest = |from: usize| -> Option<usize> {
            // A block that was inserted ends with the lines in front of it when it begins like what it was put
            // in front of, so that some of them were taken for kept ones.
            let around =
                || places.get(places.partition_point(|&place| place + RESYNC_LINES - 1 < from)).copied();
            let place = if places.binary_search(&from).is_ok() { from } else { around()? };
            (self.old[place..place + RESYNC_LINES] == *lines).then_some(place)
        };
        let next = self.guesses.last().map_or(self.at, |guess| guess.next);
        let further_down = if self.explained <= first { nearest(next) } else { None };
        let (place, from) = if let Some(place) = further_down {
            (place, next)
        } else {
            // They may be lines that were guessed to be gone, and come after all.
            let place = nearest(self.at).filter(|&place| place < next)?;
            let is_behind = |guess: &Guess| guess.from >= place + RESYNC_LINES;
            while self.guesses.pop_if(|guess| is_behind(guess)).is_some() {}
            (place, self.guesses.pop()?.from)
        };
        let before = self.guesses.last();
        let run = place + RESYNC_LINES - place.max(from);
        let dropped = before.map_or(0, |guess| guess.dropped) + place.saturating_sub(from);
        self.guesses.push(Guess {
            from,
            dropped,
            matched: before.map_or(0, |guess| guess.matched) + run,
            run,
            // The very next lines are where lines were inserted, whatever others look like them.
            is_certain: places.len() == 1 || (place == from && dropped == 0),
            next: place + RESYNC_LINES,
        });
        self.explained = self.unsettled.len();
        Some(())
    }

    /// Settles what waits once there is evidence enough for what it takes away.
    fn settle(&mut self) -> Option<Replacement> {
        let guess = *self.guesses.last()?;
        let is_outweighed = match guess.dropped {
            0 => guess.run >= RESYNC_LINES,
            dropped => guess.matched > dropped,
        };
        if !is_outweighed || !guess.is_certain {
            return None;
        }
        self.guesses.clear();
        self.explained = 0;
        let old = self.at..guess.next - guess.run;
        self.at = guess.next;
        let mut new = std::mem::take(&mut self.unsettled);
        new.truncate(new.len() - guess.run);
        Some(Replacement { old, new })
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
    use proptest::prelude::*;

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

    /// Eight lines of a test that say its name twice and look like all others elsewhere.
    fn test_named(name: &str) -> Vec<String> {
        let text = format!("#[test]|fn {name}()|start();|join();|call({name});|assert!(ok);|}}|");
        text.split('|').map(ToOwned::to_owned).collect()
    }

    fn tests_named(names: &[&str]) -> Vec<String> {
        names.iter().flat_map(|name| test_named(name)).collect()
    }

    /// What a text is after each line of the new one, as it would stay if the answer broke off there; and at
    /// the end.
    fn along(old: &[String], new: &[String]) -> Vec<Vec<String>> {
        let mut diff = StreamingDiff::new(old.to_owned());
        let mut settled: Vec<String> = Vec::new();
        let mut next = 0;
        let mut texts = Vec::new();
        let take = |step: Replacement, settled: &mut Vec<String>, next: &mut usize| {
            settled.extend_from_slice(&old[*next..step.old.start]);
            settled.extend(step.new);
            *next = step.old.end;
        };
        for line in new {
            if let Some(step) = diff.push(line) {
                take(step, &mut settled, &mut next);
            }
            texts.push(settled.iter().chain(&old[next..]).cloned().collect());
        }
        if let Some(step) = diff.finish() {
            take(step, &mut settled, &mut next);
        }
        settled.extend_from_slice(&old[next..]);
        texts.push(settled);
        texts
    }

    /// Whether all lines stand in a text, in their order.
    fn has_all(text: &[String], lines: &[String]) -> bool {
        let mut rest = text.iter();
        lines.iter().all(|line| rest.any(|other| other == line))
    }

    #[test]
    fn a_block_among_its_like_is_inserted_and_nothing_goes() {
        let short = |name: &str| lines(&format!("#[test] fn-{name} a-{name} }} -"));
        let old = ["t1", "t2", "t3", "t4"].map(short).concat();
        let new = ["t1", "n", "t2", "t3", "t4"].map(short).concat();
        for text in along(&old, &new) {
            assert!(has_all(&text, &old), "{text:?}");
        }
        assert_eq!(along(&old, &new).last(), Some(&new));
        // It is settled with the third line of what it was put in front of.
        let mut diff = StreamingDiff::new(old);
        let steps: Vec<_> = new.iter().map(|line| diff.push(line)).enumerate().collect();
        let settled: Vec<usize> =
            steps.iter().filter(|(_, step)| step.is_some()).map(|(at, _)| *at).collect();
        assert_eq!(settled, [13]);
    }

    #[test]
    fn lines_go_once_more_lines_behind_them_came() {
        let old = tests_named(&["a", "b", "c", "d"]);
        let new = tests_named(&["a", "c", "d"]);
        let texts = along(&old, &new);
        let gone = texts.iter().position(|text| !has_all(text, &old));
        // Eight lines are gone, `#[test]` of the one counts for the other, and eight further must come.
        assert_eq!(gone, Some(8 + 1 + 8));
        assert_eq!(texts.last(), Some(&new));
        // With fewer behind them they go at the end.
        let (old, new) = (tests_named(&["a", "b", "c"]), tests_named(&["a", "c"]));
        let texts = along(&old, &new);
        assert_eq!(texts.iter().position(|text| !has_all(text, &old)), Some(new.len()));
    }

    proptest! {
        /// [E12] Blocks come and go among their like: a cut keeps every line the whole answer keeps, and the
        /// end gives the new text.
        #[test]
        fn a_cut_keeps_what_the_answer_keeps(
            count in 1usize..9,
            inserted in prop::collection::vec(0usize..10, 0..4),
            deleted in prop::collection::vec(0usize..10, 0..4),
        ) {
            let old: Vec<String> = (0..count).flat_map(|test| test_named(&format!("t{test}"))).collect();
            let mut kept = Vec::new();
            let mut new = Vec::new();
            for test in 0..=count {
                for fresh in (0..inserted.len()).filter(|fresh| inserted[*fresh] == test) {
                    new.extend(test_named(&format!("n{fresh}")));
                }
                if test < count && !deleted.contains(&test) {
                    kept.extend(test_named(&format!("t{test}")));
                    new.extend(test_named(&format!("t{test}")));
                }
            }
            let texts = along(&old, &new);
            for (cut, text) in texts.iter().enumerate() {
                prop_assert!(has_all(text, &kept), "cut behind line {}: {:?}", cut, text);
            }
            if deleted.is_empty() {
                prop_assert!(texts.iter().all(|text| has_all(text, &old)));
            }
            prop_assert_eq!(texts.last(), Some(&new));
        }

        /// Whatever the lines are, the end gives the new text.
        #[test]
        fn any_lines_are_followed(old in "[a-d]{0,40}", new in "[a-d]{0,40}") {
            let cut = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
            let (old, new) = (cut(&old), cut(&new));
            let texts = along(&old, &new);
            prop_assert_eq!(texts.last(), Some(&new));
        }
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
        // Nothing more is inserted than came where lines repeat.
        assert_eq!(
            replaced("r r r r r a b", "r X r r r a b"),
            [(1..1, "X".to_owned(), false), (4..7, "a b".to_owned(), true)]
        );
        // A line that came where another like it follows is no insertion yet.
        assert_eq!(replaced("a b R b R a b c", "a b b b R a b c"), [(2..3, "b".to_owned(), false)]);
        assert_eq!(replaced("R b R b R b", "R X R b R b"), [(1..6, "X R b R b".to_owned(), true)]);
        assert_eq!(replaced("a { } ; b", "Q { } ;"), [(0..5, "Q { } ;".to_owned(), true)]);
    }
}

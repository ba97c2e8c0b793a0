//! Places that nearly agree with a hunk: to say where it may have been meant, and to apply it where there
//! can be no doubt.

use std::collections::HashMap;
use std::ops::Range;

use super::{Aim, quote};
use crate::diff::similarity;
use crate::hunk::{Miss, MissReason, Nearest};
use crate::lines::LineTable;

/// How alike a block and a place must be to count as the same, from 0 to 1, in bytes of equal words.
pub const FUZZY_THRESHOLD: f64 = 0.8;

/// The longest block, in bytes, that is compared with places word by word; a model that quotes more than
/// this of a file wrong is better told so.
const MAX_FUZZY_BYTES: usize = 64 * 1024;

/// Lines of a block, and places of each, that vote for where it stands.
const MAX_VOTES: usize = 64;

/// Places with the most votes that are looked at closely.
const MAX_PLACES: usize = 8;

/// Lines a place may have more or fewer than the block: one that was forgotten, or an empty one too many.
const MAX_LINES_OFF: u32 = 2;

/// Further places named beside the nearest one.
const MAX_OTHERS: usize = 3;

/// A line that is alike, if not equal.
pub(crate) fn is_alike(found: &str, wanted: &str) -> bool {
    let is_blank = |line: &str| line.trim().is_empty();
    !is_blank(found) && !is_blank(wanted) && similarity(found, wanted) >= FUZZY_THRESHOLD
}

/// The lines a block that stands nowhere was taken from, when only one place is alike enough.
///
/// At least one line of the block must stand there as it is.
pub(crate) fn alike_place(table: &LineTable, old: &[&str]) -> Option<Range<u32>> {
    let bytes: usize = old.iter().map(|line| line.len() + 1).sum();
    if bytes > MAX_FUZZY_BYTES {
        return None;
    }
    let wanted = old.join("\n");
    let len = old.len() as u32;
    let mut best: Vec<(f64, Range<u32>)> = Vec::new();
    for start in most_voted(table, old) {
        let shortest = len.saturating_sub(MAX_LINES_OFF).max(1);
        let ends = (shortest..=len + MAX_LINES_OFF).map(|lines| start + lines);
        for end in ends.filter(|&end| end <= table.len()) {
            let alike = similarity(table.block(start..end), &wanted);
            if alike >= FUZZY_THRESHOLD {
                best.push((alike, start..end));
            }
        }
    }
    // The likest first; of equals the shortest, so that no line is taken in that says nothing.
    best.sort_by(|(left, place), (right, other)| {
        right.total_cmp(left).then(place.len().cmp(&other.len())).then(place.start.cmp(&other.start))
    });
    let (_, place) = best.first()?.clone();
    let overlaps = |other: &Range<u32>| other.start < place.end && place.start < other.end;
    best.iter().all(|(_, other)| overlaps(other)).then_some(place)
}

/// The miss of a block that stands nowhere.
pub(crate) fn not_found(table: &LineTable, old: &[&str], aim: &Aim<'_>) -> Miss {
    let starts = most_voted(table, old);
    let Some(nearest) = starts.first().and_then(|&start| nearest(table, old, start)) else {
        let first = old.iter().find(|line| !line.trim().is_empty()).or(old.first());
        let message = format!(
            "These lines stand nowhere in `{}`; the first is {}.",
            aim.path,
            quote(first.copied().unwrap_or_default())
        );
        return Miss::new(MissReason::NotFound, message);
    };
    let found = nearest.found.as_deref().map_or_else(|| "the end of the file".to_owned(), quote);
    let message = format!(
        "These lines stand nowhere in `{}`. The nearest place is line {}, where {} of {} agree: line {} is \
         {found}, but the hunk expects {}.",
        aim.path,
        nearest.line,
        nearest.matched,
        nearest.of,
        nearest.first_difference,
        quote(&nearest.expected)
    );
    Miss {
        lines: vec![nearest.first_difference],
        nearest: Some(Box::new(nearest)),
        others: starts.iter().skip(1).take(MAX_OTHERS).map(|start| start + 1).collect(),
        ..Miss::new(MissReason::NotFound, message)
    }
}

/// The lines most lines of a block say it starts at, the most first and of equals the topmost.
fn most_voted(table: &LineTable, old: &[&str]) -> Vec<u32> {
    let mut votes: HashMap<u32, u32> = HashMap::new();
    let lines = old.iter().zip(0u32..).filter(|(line, _)| !line.trim().is_empty());
    for (line, offset) in lines.take(MAX_VOTES) {
        let Some(number) = table.number_of(line) else { continue };
        for place in table.lines_with(number).take(MAX_VOTES) {
            if let Some(start) = place.checked_sub(offset) {
                *votes.entry(start).or_default() += 1;
            }
        }
    }
    let mut starts: Vec<(u32, u32)> = votes.into_iter().collect();
    starts.sort_unstable_by_key(|&(start, count)| (std::cmp::Reverse(count), start));
    starts.truncate(MAX_PLACES);
    starts.into_iter().map(|(start, _)| start).collect()
}

/// How a block agrees with the lines from one on; `None` when all of them do.
fn nearest(table: &LineTable, old: &[&str], start: u32) -> Option<Nearest> {
    let agrees = |line: u32, wanted: &str| line < table.len() && table.likeness(line, wanted).is_some();
    let matched = old.iter().zip(start..).filter(|(wanted, line)| agrees(*line, wanted)).count() as u32;
    let (expected, differs) = old.iter().zip(start..).find(|(wanted, line)| !agrees(*line, wanted))?;
    Some(Nearest {
        line: start + 1,
        matched,
        of: old.len() as u32,
        first_difference: differs + 1,
        expected: (*expected).to_owned(),
        found: (differs < table.len()).then(|| table.line(differs).to_owned()),
    })
}

//! Where a hunk belongs in its base text: one place, or a [`Miss`] that says why not.
//!
//! Candidates are all places that agree with the hunk's kept and removed lines in their loosest form. What
//! the patch states as fact (headings come first, the end of the file) excludes candidates; of the rest the
//! best agreement counts. If that leaves several, the scope of the headings, a line number and the order of
//! the hunks may decide, but only when they leave exactly one. Nothing is ever picked for being first.

pub(crate) mod block;
pub(crate) mod nearest;

use std::ops::Range;

use crate::hunk::{Agreement, Miss, MissReason};
use crate::lines::{LineTable, fold};
use block::places_of;
use nearest::not_found;

/// Candidates named in a message and in [`Miss::lines`].
const MAX_LISTED: usize = 20;

/// Lines compared to rank candidates by how exactly they agree. Beyond it, which takes a long block that
/// repeats thousands of times, all candidates count as equal.
const MAX_RANKED_LINES: usize = 200_000;

/// Candidates a hunk's lines are compared with while they arrive, the first of each line not counted. Beyond
/// it, which takes lines that repeat thousands of times, the hunk waits for its end.
const MAX_EARLY_STEPS: usize = 200_000;

/// What looking up the headings of one answer may cost: the bytes of the text that are searched for each that is
/// no whole line, the lines each is, and [`SCOPE_LINE_COST`] for each line below one. A patch of 500 hunks for a text of half a
/// megabyte stays below it; beyond it hunks with headings are refused.
pub(crate) const MAX_HEADING_COST: usize = 256 * 1024 * 1024;

/// What looking at a line costs to find the end of a scope, in bytes searched.
const SCOPE_LINE_COST: usize = 8;

/// Occurrences of a heading whose scopes are looked at; a heading that is more common says nothing.
const MAX_SCOPES: usize = 1_000;

/// Characters of a line that are quoted in a message.
const MAX_QUOTED: usize = 120;

/// The shortest heading, in bytes, that may match just a part of a line.
const MIN_PARTIAL_HEADING_BYTES: usize = 4;

/// Follows the places that agree with the kept and removed lines of a hunk while they arrive.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    count: u32,
    candidates: Vec<u32>,
    /// The candidates without the last line, when that line is blank.
    before_blank: Option<Vec<u32>>,
    /// Candidates looked at so far; beyond [`MAX_EARLY_STEPS`] there are none any more.
    steps: usize,
}

impl Matcher {
    /// Adds the next line and drops the candidates that disagree.
    pub(crate) fn push(&mut self, table: &LineTable, line: &str) {
        let count = self.count;
        self.count += 1;
        if self.steps > MAX_EARLY_STEPS {
            return;
        }
        self.before_blank = line.trim().is_empty().then(|| self.candidates.clone());
        match table.number_of(line) {
            None => self.candidates.clear(),
            Some(number) if count == 0 => {
                self.candidates = table.lines_with(number).take(MAX_EARLY_STEPS + 2).collect();
                self.steps += self.candidates.len().saturating_sub(1);
            }
            Some(number) => {
                self.steps += self.candidates.len().saturating_sub(1);
                self.candidates.retain(|&start| table.number_at(start + count) == Some(number));
            }
        }
        if self.steps > MAX_EARLY_STEPS {
            self.candidates = Vec::new();
            self.before_blank = None;
        }
    }

    /// The number of lines added.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The one place the hunk can have, whatever lines follow.
    ///
    /// The lines so far, without a blank last one, must agree in their loosest form with exactly one place
    /// that the headings allow; then every longer block that agrees anywhere agrees there.
    pub(crate) fn settled_place(&self, scope: &Scope) -> Option<u32> {
        if scope.is_incomplete {
            return None;
        }
        let known = match &self.before_blank {
            Some(_) if self.count == 1 => return None,
            Some(before) => before,
            None => &self.candidates,
        };
        let mut allowed = known.iter().copied().filter(|&start| start >= scope.earliest);
        let place = allowed.next()?;
        (allowed.next().is_none() && self.candidates.contains(&place)).then_some(place)
    }
}

/// What the headings of a hunk say about its place.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The first line the hunk may start at.
    pub(crate) earliest: u32,
    /// The lines each occurrence of the last heading stands above, itself included; empty when no heading
    /// was found.
    regions: Vec<Range<u32>>,
    /// The lines of all of them, ascending and apart.
    covered: Vec<Range<u32>>,
    /// Whether looking the headings up would have cost too much.
    is_incomplete: bool,
    /// A line number, counted from zero, from a heading such as `@@ -12,3 +12,4 @@`.
    hint: Option<u32>,
    /// The last heading that was found, for messages.
    heading: Option<String>,
    /// Whether a heading names a line, found or not.
    pub(crate) names_lines: bool,
}

impl Scope {
    /// Looks the headings up in the text. One that stands nowhere is ignored.
    ///
    /// What that costs is taken from `budget`; when it does not suffice, the scope is incomplete and a hunk in
    /// it refused.
    pub(crate) fn new(table: &LineTable, headings: &[String], budget: &mut usize) -> Self {
        let mut scope = Self::default();
        for heading in headings {
            let mut text = heading.as_str();
            if let Some((line, rest)) = line_hint(text) {
                scope.hint = Some(line);
                text = rest;
            }
            let folded = fold(text);
            if folded.is_empty() {
                continue;
            }
            scope.names_lines = true;
            let mut lines: Vec<u32> = match table.number_of(&folded) {
                Some(number) => table.lines_with(number).collect(),
                None if folded.len() >= MIN_PARTIAL_HEADING_BYTES => {
                    if !scope.pay(table.text().len(), budget) {
                        break;
                    }
                    table.lines_containing(&folded)
                }
                None => Vec::new(),
            };
            if !scope.pay(lines.len(), budget) {
                break;
            }
            // A further heading stands below the ones before it.
            lines.retain(|&line| line >= scope.earliest);
            if !scope.regions.is_empty() {
                let inside: Vec<u32> = lines.iter().copied().filter(|line| scope.contains(*line)).collect();
                if !inside.is_empty() {
                    lines = inside;
                }
            }
            let Some(&first) = lines.first() else { continue };
            scope.earliest = first;
            scope.heading = Some(text.trim().to_owned());
            scope.regions.clear();
            if lines.len() <= MAX_SCOPES {
                for &line in &lines {
                    let end = scope_end(table, line);
                    if !scope.pay((end - line) as usize * SCOPE_LINE_COST, budget) {
                        break;
                    }
                    scope.regions.push(line..end);
                }
            }
            scope.cover();
            if scope.is_incomplete {
                break;
            }
        }
        scope
    }

    /// Takes a cost from the budget; otherwise the scope stays incomplete.
    fn pay(&mut self, cost: usize, budget: &mut usize) -> bool {
        match budget.checked_sub(cost) {
            Some(left) => *budget = left,
            None => self.is_incomplete = true,
        }
        !self.is_incomplete
    }

    /// Joins the regions, which are in the order of their starts.
    fn cover(&mut self) {
        self.covered.clear();
        for region in &self.regions {
            match self.covered.last_mut() {
                Some(last) if region.start <= last.end => last.end = last.end.max(region.end),
                _ => self.covered.push(region.clone()),
            }
        }
    }

    fn contains(&self, line: u32) -> bool {
        let at = self.covered.partition_point(|region| region.end <= line);
        self.covered.get(at).is_some_and(|region| region.contains(&line))
    }

    /// The place the headings mean, of several that stand in ascending order.
    ///
    /// It stands below a heading, and it is the first place behind every occurrence of it from a line on,
    /// so that no way of reading the heading gives another.
    fn meant(&self, places: &[u32], from: u32) -> Option<u32> {
        let occurrences = self.regions.iter().map(|region| region.start).filter(|&line| line >= from);
        let mut firsts =
            occurrences.filter_map(|line| places.get(places.partition_point(|&place| place < line)).copied());
        let place = firsts.next()?;
        let inside = places.iter().filter(|&&place| place >= from && self.contains(place)).count();
        (firsts.all(|other| other == place) && inside == 1 && self.contains(place)).then_some(place)
    }
}

/// What else than its lines decides where a hunk belongs.
#[derive(Debug)]
pub(crate) struct Aim<'a> {
    /// What its headings say.
    pub(crate) scope: &'a Scope,
    /// Whether it stands at the end of the file.
    pub(crate) at_end: bool,
    /// The first line of the hunk in front of it.
    pub(crate) cursor: u32,
    /// The file, for messages.
    pub(crate) path: &'a str,
}

/// The one line at which a block of kept and removed lines starts, and how exactly it agrees.
pub(crate) fn locate(table: &LineTable, old: &[&str], aim: &Aim<'_>) -> Result<(u32, Agreement), Miss> {
    if aim.scope.is_incomplete {
        let message = format!(
            "The headings in `{}` take too long to look up. Give more unchanged lines instead, or fewer hunks.",
            aim.path
        );
        return Err(Miss::new(MissReason::Ambiguous, message));
    }
    let len = old.len() as u32;
    let numbers: Option<Vec<u32>> = old.iter().map(|line| table.number_of(line)).collect();
    let mut places = numbers.map(|numbers| places_of(table.numbers(), &numbers, &mut 0)).unwrap_or_default();
    if places.is_empty() {
        return Err(not_found(table, old, aim));
    }

    let found = places.clone();
    places.retain(|&place| place >= aim.scope.earliest);
    if places.is_empty() {
        let heading = aim.scope.heading.as_deref().unwrap_or_default();
        let message = format!(
            "These lines stand in `{}` only before the heading `@@ {heading}`, which is on line {}.",
            aim.path,
            aim.scope.earliest + 1
        );
        return Err(Miss { lines: listed(&found), ..Miss::new(MissReason::NotFound, message) });
    }
    if aim.at_end {
        let found = places.clone();
        places.retain(|&place| table.is_at_end(place + len));
        if places.is_empty() {
            let message = format!(
                "The hunk says that it stands at the end of `{}`, but its lines stand only {}.",
                aim.path,
                on_lines(&found)
            );
            return Err(Miss { lines: listed(&found), ..Miss::new(MissReason::NotFound, message) });
        }
    }

    keep_best(table, old, &mut places);
    if let Some(place) = the_one(&places, aim) {
        return Ok((place, agreement_at(table, old, place).unwrap_or(Agreement::Folded)));
    }
    let message = format!(
        "These lines stand {} of `{}`. Give more unchanged lines around the change, or a heading such as \
         `@@ fn name()`, so that only one place fits.",
        on_lines(&places),
        aim.path
    );
    Err(Miss { lines: listed(&places), ..Miss::new(MissReason::Ambiguous, message) })
}

/// The only place there is, or the only one that everything else a patch says leaves.
fn the_one(places: &[u32], aim: &Aim<'_>) -> Option<u32> {
    if let [place] = *places {
        return Some(place);
    }
    if let Some(place) = aim.scope.meant(places, 0).or_else(|| aim.scope.meant(places, aim.cursor)) {
        return Some(place);
    }
    if let Some(hint) = aim.scope.hint.filter(|hint| places.contains(hint)) {
        return Some(hint);
    }
    let mut behind = places.iter().copied().filter(|&place| place >= aim.cursor);
    behind.next().filter(|_| behind.next().is_none())
}

/// How exactly a block agrees with a place: as its worst line does.
pub(crate) fn agreement_at<S: AsRef<str>>(table: &LineTable, old: &[S], place: u32) -> Option<Agreement> {
    let mut worst = Agreement::Exact;
    for (wanted, line) in old.iter().zip(place..) {
        worst = worst.max(table.likeness(line, wanted.as_ref())?);
    }
    Some(worst)
}

/// The miss of a hunk that stops agreeing with the text at a line.
pub(crate) fn contradiction(table: &LineTable, path: &str, line: u32, expected: &str) -> Miss {
    let found = if line < table.len() { quote(table.line(line)) } else { "the end of the file".to_owned() };
    let message =
        format!("Line {} of `{path}` is {found}, but the hunk expects {}.", line + 1, quote(expected));
    Miss { lines: vec![line + 1], ..Miss::new(MissReason::NotFound, message) }
}

/// A line as it is quoted in a message.
pub(crate) fn quote(line: &str) -> String {
    match line.char_indices().nth(MAX_QUOTED) {
        Some((cut, _)) => format!("`{}…`", &line[..cut]),
        None => format!("`{line}`"),
    }
}

/// Keeps the places that agree best.
fn keep_best(table: &LineTable, old: &[&str], places: &mut Vec<u32>) {
    if places.len() < 2 || places.len().saturating_mul(old.len()) > MAX_RANKED_LINES {
        return;
    }
    let ranks: Vec<_> = places.iter().map(|&place| agreement_at(table, old, place)).collect();
    let best = ranks.iter().min().copied().flatten();
    let mut index = 0;
    places.retain(|_| {
        index += 1;
        ranks[index - 1] == best
    });
}

/// The line number, counted from zero, and the text of a heading of a unified diff.
fn line_hint(heading: &str) -> Option<(u32, &str)> {
    let (numbers, rest) =
        heading.trim().strip_prefix('-')?.split_once("@@").unwrap_or((&heading.trim()[1..], ""));
    let (old, new) = numbers.trim().split_once(" +")?;
    let line: u32 = old.split(',').next()?.parse().ok()?;
    let are_numbers = |text: &str| text.split(',').all(|number| number.parse::<u32>().is_ok());
    (are_numbers(old) && are_numbers(new)).then(|| (line.saturating_sub(1), rest))
}

/// The line behind everything that is indented below a line.
fn scope_end(table: &LineTable, line: u32) -> u32 {
    let indent = |line: u32| {
        let text = table.line(line);
        text.len() - text.trim_start().len()
    };
    let depth = indent(line);
    let mut opening = true;
    for below in line + 1..table.len() {
        if table.is_blank(below) {
            continue;
        }
        let is_brace = opening && table.line(below).trim_start().starts_with('{');
        if indent(below) <= depth && !is_brace {
            return below;
        }
        opening = false;
    }
    table.len()
}

pub(crate) fn listed(places: &[u32]) -> Vec<u32> {
    places.iter().take(MAX_LISTED).map(|place| place + 1).collect()
}

pub(crate) fn on_lines(places: &[u32]) -> String {
    let numbers: Vec<String> = listed(places).iter().map(ToString::to_string).collect();
    match (&numbers[..], places.len() > MAX_LISTED) {
        ([one], _) => format!("on line {one}"),
        (all, false) => format!("on lines {}", all.join(", ")),
        (all, true) => format!("on lines {} and {} more", all.join(", "), places.len() - MAX_LISTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: &str = "\
class A:
    def run(self):
        x = 1
        return x

class B:
    def run(self):
        x = 1
        return x

def main():
    x = 1
    return x
";

    fn find(text: &str, headings: &[&str], old: &[&str], at_end: bool, cursor: u32) -> Result<u32, Miss> {
        let table = LineTable::new(text);
        let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
        let scope = Scope::new(&table, &headings, &mut { MAX_HEADING_COST });
        locate(&table, old, &Aim { scope: &scope, at_end, cursor, path: "a.py" }).map(|(line, _)| line)
    }

    #[test]
    fn one_place_is_found_and_the_best_agreement_wins() {
        assert_eq!(find(CLASSES, &[], &["    x = 1"], false, 0), Ok(11));
        assert_eq!(find("a — b\n", &[], &["a - b"], false, 0), Ok(0));
        assert_eq!(find("x\n x\n", &[], &["x"], false, 0), Ok(0));
        assert_eq!(find("x\n x\n", &[], &[" x"], false, 0), Ok(1));
    }

    #[test]
    fn ambiguity_is_resolved_by_what_the_patch_says_or_reported() {
        let old = ["        x = 1", "        return x"];
        let miss = find(CLASSES, &[], &old, false, 0).unwrap_err();
        assert_eq!((miss.reason, miss.lines), (MissReason::Ambiguous, vec![3, 8]));
        assert_eq!(find(CLASSES, &["class B:"], &old, false, 0), Ok(7));
        assert_eq!(find(CLASSES, &["class A:"], &old, false, 0), Ok(2));
        assert_eq!(find(CLASSES, &["class A:", "def run(self):"], &old, false, 0), Ok(2));
        assert_eq!(find(CLASSES, &["def run(self):"], &old, false, 0).unwrap_err().lines, [3, 8]);
        assert_eq!(find(CLASSES, &["def run(self):"], &old, false, 4), Ok(7));
        assert_eq!(find(CLASSES, &["class B"], &old, false, 0), Ok(7));
        assert_eq!(find(CLASSES, &["-8,2 +8,3 @@ class C"], &old, false, 0), Ok(7));
        assert_eq!(
            find(CLASSES, &["-9,2 +8,3 @@"], &old, false, 0).unwrap_err().reason,
            MissReason::Ambiguous
        );
        assert_eq!(find(CLASSES, &[], &old, false, 4), Ok(7));
        assert_eq!(find(CLASSES, &["nowhere"], &old, false, 4), Ok(7));
        assert_eq!(find("x\n}\ny\n}\n", &[], &["}"], true, 0), Ok(3));
    }

    /// [E15] Lines that repeat cost no more than a bound while they arrive, and are found at the end.
    #[test]
    fn repeated_lines_are_not_compared_with_every_place() {
        let lines = 2 * MAX_EARLY_STEPS;
        let table = LineTable::new("x\n".repeat(lines) + "y\n");
        let mut matcher = Matcher::default();
        for _ in 0..lines / 2 {
            matcher.push(&table, "x");
            matcher.push(&table, "");
        }
        assert!(matcher.steps <= 2 * MAX_EARLY_STEPS, "{}", matcher.steps);
        assert_eq!(matcher.settled_place(&Scope::default()), None);
        let mut block = vec!["x"; lines / 2];
        block.push("y");
        let scope = Scope::default();
        let aim = Aim { scope: &scope, at_end: false, cursor: 0, path: "a" };
        assert_eq!(locate(&table, &block, &aim).map(|(line, _)| line), Ok(lines as u32 / 2));
        // A block that stands in one place is never too long.
        let table =
            LineTable::new((0..lines).flat_map(|line| [line.to_string(), "\n".into()]).collect::<String>());
        let mut matcher = Matcher::default();
        (0..lines).for_each(|line| matcher.push(&table, &line.to_string()));
        assert_eq!((matcher.steps, matcher.settled_place(&Scope::default())), (0, Some(0)));
    }

    #[test]
    fn headings_that_cost_too_much_refuse_their_hunk() {
        let table = LineTable::new("fn one() {\n    x\n}\n");
        let budget = &mut (table.text().len() + 2 * SCOPE_LINE_COST + 1);
        let headings = ["fn one".to_owned()];
        let scope = Scope::new(&table, &headings, budget);
        assert!(!scope.is_incomplete && *budget == 0);
        let scope = Scope::new(&table, &headings, budget);
        let aim = Aim { scope: &scope, at_end: false, cursor: 0, path: "a" };
        assert_eq!(locate(&table, &["    x"], &aim).unwrap_err().reason, MissReason::Ambiguous);
    }

    #[test]
    fn a_heading_that_stands_above_two_places_decides_nothing() {
        // The second `}` is meant by a patch that names the line in front of its place.
        let text = "}\n  x\n  }\n  x\n";
        assert_eq!(find(text, &["}"], &["  x"], false, 0).unwrap_err().reason, MissReason::Ambiguous);
    }

    #[test]
    fn headings_and_the_end_of_file_are_facts() {
        let miss = find(CLASSES, &["def main():"], &["class B:"], false, 0).unwrap_err();
        assert_eq!((miss.reason, miss.lines), (MissReason::NotFound, vec![6]));
        assert!(find(CLASSES, &[], &["class B:"], true, 0).is_err());
        assert_eq!(find("a\nb\n\n\n", &[], &["b"], true, 0), Ok(1));
    }

    #[test]
    fn a_miss_names_the_nearest_place_and_its_first_difference() {
        let miss = find(CLASSES, &[], &["def main():", "    x = 2", "    return x"], false, 0).unwrap_err();
        let nearest = miss.nearest.unwrap();
        assert_eq!((nearest.line, nearest.matched, nearest.of, nearest.first_difference), (11, 2, 3, 12));
        assert_eq!(nearest.found.as_deref(), Some("    x = 1"));
        assert!(miss.message.contains("`    x = 2`"), "{}", miss.message);
    }

    #[test]
    fn a_place_settles_when_no_other_can_agree() {
        let table = LineTable::new("a\n\nq\na\nb\n");
        let anywhere = Scope::default();
        let mut matcher = Matcher::default();
        matcher.push(&table, "a");
        assert_eq!(matcher.settled_place(&anywhere), None);
        // The blank line could be dropped again, so it does not settle anything.
        matcher.push(&table, "");
        assert_eq!(matcher.settled_place(&anywhere), None);
        matcher.push(&table, "q");
        assert_eq!(matcher.settled_place(&anywhere), Some(0));
    }
}

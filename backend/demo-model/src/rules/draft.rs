//! A document while it is changed, and its changes as a patch.

use std::{collections::HashMap, fmt::Write as _, ops::Range};

use super::{Edit, conversation::Document};

/// Lines of context on each side of a change to begin with. Two are almost always unique, and the fewer there
/// are, the less of what people type nearby gets in the way.
const CONTEXT: usize = 2;
/// Lines of context up to which a hunk grows until it is unique, before it gets a heading.
const CONTEXT_WITHOUT_HEADING: usize = 10;

/// One line of a draft, and the line of the document it came from.
#[derive(Debug, Clone)]
struct Line {
    text: String,
    origin: Option<usize>,
}

/// A document while it is changed.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    document: &'a Document,
    lines: Vec<Line>,
    deleted: bool,
}

/// A line of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'a> {
    Keep(usize),
    Remove(usize),
    Add(&'a str),
}

impl<'a> Draft<'a> {
    pub(super) fn new(document: &'a Document) -> Self {
        let line = |(number, text): (usize, &String)| Line { text: text.clone(), origin: Some(number) };
        Self { document, lines: document.lines.iter().enumerate().map(line).collect(), deleted: false }
    }

    pub(super) fn document(&self) -> &'a Document {
        self.document
    }

    /// The lines as they stand now.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.text.clone()).collect()
    }

    /// Changes a line in place.
    pub(super) fn set(&mut self, line: usize, text: String) {
        if let Some(line) = self.lines.get_mut(line) {
            line.text = text;
        }
    }

    /// Puts lines before the given one.
    pub(super) fn insert(&mut self, before: usize, texts: Vec<String>) {
        let before = before.min(self.lines.len());
        self.lines.splice(before..before, texts.into_iter().map(|text| Line { text, origin: None }));
    }

    /// Takes lines out.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        self.lines.drain(range);
    }

    /// Deletes the whole document.
    pub(super) fn delete(&mut self) {
        self.deleted = true;
    }

    /// The changes as a section of a patch; empty if there are none. Numbered hunks also say at which line of
    /// the document they begin.
    pub(super) fn section(&self, numbered: bool) -> String {
        if self.deleted {
            return format!("*** Delete File: {}\n", self.document.path);
        }
        let steps = self.steps();
        if steps.iter().all(|step| matches!(step, Step::Keep(_))) {
            return String::new();
        }
        let mut section = format!("*** Update File: {}\n", self.document.path);
        let old = &self.document.lines;
        for hunk in self.hunks(&steps) {
            match hunk.heading {
                _ if numbered => {
                    let lines = old_lines(&steps[hunk.steps.clone()]);
                    let (first, count) = (self.document.first_line + lines.start, lines.len());
                    writeln!(section, "@@ -{first},{count} +{first},{count} @@")
                }
                // A document always has lines to show as context, unless it is empty.
                Some(line) => writeln!(section, "@@ {}", old[line].trim()),
                None => writeln!(section, "@@"),
            }
            .expect("writing to a string does not fail");
            for step in &steps[hunk.steps] {
                let (mark, text) = match step {
                    Step::Keep(line) => (' ', old[*line].as_str()),
                    Step::Remove(line) => ('-', old[*line].as_str()),
                    Step::Add(text) => ('+', *text),
                };
                writeln!(section, "{mark}{text}").expect("writing to a string does not fail");
            }
        }
        section
    }

    /// The changes as old and new texts; none where the document goes as a whole.
    pub(super) fn edits(&self) -> Vec<Edit> {
        if self.deleted {
            return vec![];
        }
        let steps = self.steps();
        let old = &self.document.lines;
        let hunks = self.hunks(&steps).into_iter().filter(|hunk| !steps[hunk.changed.clone()].is_empty());
        hunks
            .map(|hunk| {
                // A heading says nothing here: the text reaches up to it, and is unique by it.
                let heading = hunk.heading.and_then(|line| {
                    steps.iter().position(|step| matches!(step, Step::Keep(kept) if *kept == line))
                });
                let start = heading.unwrap_or(hunk.steps.start).min(hunk.steps.start);
                let mut edit = Edit { old: String::new(), new: String::new() };
                for step in &steps[start..hunk.steps.end] {
                    match step {
                        Step::Keep(line) => {
                            edit.old.extend([old[*line].as_str(), "\n"]);
                            edit.new.extend([old[*line].as_str(), "\n"]);
                        }
                        Step::Remove(line) => edit.old.extend([old[*line].as_str(), "\n"]),
                        Step::Add(text) => edit.new.extend([*text, "\n"]),
                    }
                }
                edit
            })
            .collect()
    }

    fn steps(&self) -> Vec<Step<'_>> {
        let old = &self.document.lines;
        let mut steps = Vec::with_capacity(self.lines.len());
        let mut next = 0;
        for line in &self.lines {
            match line.origin {
                Some(origin) => {
                    steps.extend((next..origin).map(Step::Remove));
                    next = origin + 1;
                    if line.text == old[origin] {
                        steps.push(Step::Keep(origin));
                    } else {
                        steps.push(Step::Remove(origin));
                        steps.push(Step::Add(&line.text));
                    }
                }
                None => steps.push(Step::Add(&line.text)),
            }
        }
        steps.extend((next..old.len()).map(Step::Remove));
        steps
    }

    /// Cuts the steps into hunks whose old lines stand in one place of the document only.
    fn hunks(&self, steps: &[Step<'_>]) -> Vec<Hunk> {
        let places = Places::new(&self.document.lines);
        let mut hunks: Vec<Hunk> = Vec::new();
        for changed in changes(steps) {
            let mut hunk = Hunk::around(changed, steps, &places);
            // Old lines belong to one hunk each: hunks that would share some become one.
            while let Some(before) = hunks.pop_if(|before| before.steps.end > hunk.steps.start) {
                hunk = Hunk::around(before.changed.start..hunk.changed.end, steps, &places);
            }
            hunks.push(hunk);
        }
        hunks
    }
}

/// The runs of steps that change something; runs so close that their context would overlap are one.
fn changes(steps: &[Step<'_>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if matches!(step, Step::Keep(_)) {
            continue;
        }
        match runs.last_mut() {
            Some(run) if at - run.end < 2 * CONTEXT => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// A hunk: the steps that change something, and those with their context.
#[derive(Debug, Clone)]
struct Hunk {
    changed: Range<usize>,
    steps: Range<usize>,
    /// The line of the document that goes into its heading.
    heading: Option<usize>,
}

impl Hunk {
    fn around(changed: Range<usize>, steps: &[Step<'_>], places: &Places<'_>) -> Self {
        let mut context = CONTEXT;
        loop {
            let range = with_context(&changed, steps, context);
            let block = old_lines(&steps[range.clone()]);
            // All places matter to a heading; otherwise a second one is enough to go on.
            let wanted = if context == CONTEXT_WITHOUT_HEADING { usize::MAX } else { 2 };
            let found = places.of(&block, wanted);
            let whole = range.start == 0 && range.end == steps.len();
            // A block of nothing but blank lines is unique in name only.
            if whole || (found.len() == 1 && places.says_something(&block)) {
                return Self { changed, steps: range, heading: None };
            }
            if context == CONTEXT_WITHOUT_HEADING
                && let Some(heading) = places.heading(&block, &found)
            {
                return Self { changed, steps: range, heading: Some(heading) };
            }
            // What is not unique by now repeats for long.
            context = if context < CONTEXT_WITHOUT_HEADING { context + 1 } else { context * 2 };
        }
    }
}

fn with_context(changed: &Range<usize>, steps: &[Step<'_>], context: usize) -> Range<usize> {
    let is_kept = |step: &Step<'_>| matches!(step, Step::Keep(_));
    let mut start = changed.start;
    let mut kept = 0;
    while start > 0 && kept < context {
        start -= 1;
        kept += usize::from(is_kept(&steps[start]));
    }
    let mut end = changed.end;
    kept = 0;
    while end < steps.len() && kept < context {
        kept += usize::from(is_kept(&steps[end]));
        end += 1;
    }
    start..end
}

fn old_lines(steps: &[Step<'_>]) -> Range<usize> {
    let mut lines = steps.iter().filter_map(|step| match step {
        Step::Keep(line) | Step::Remove(line) => Some(*line),
        Step::Add(_) => None,
    });
    let Some(first) = lines.next() else { return 0..0 };
    first..lines.next_back().unwrap_or(first) + 1
}

/// Where each line of a document stands.
struct Places<'a> {
    lines: &'a [String],
    by_text: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Places<'a> {
    fn new(lines: &'a [String]) -> Self {
        let mut by_text: HashMap<&str, Vec<usize>> = HashMap::new();
        for (number, line) in lines.iter().enumerate() {
            by_text.entry(line).or_default().push(number);
        }
        Self { lines, by_text }
    }

    /// Where the lines of a block stand, up to so many places.
    fn of(&self, block: &Range<usize>, wanted_places: usize) -> Vec<usize> {
        let wanted = &self.lines[block.clone()];
        let Some((offset, candidates)) = wanted
            .iter()
            .enumerate()
            .filter_map(|(offset, line)| Some((offset, self.by_text.get(line.as_str())?)))
            .min_by_key(|(_, candidates)| candidates.len())
        else {
            return vec![];
        };
        candidates
            .iter()
            .filter_map(|candidate| candidate.checked_sub(offset))
            .filter(|start| self.lines.get(*start..start + wanted.len()) == Some(wanted))
            .take(wanted_places)
            .collect()
    }

    fn says_something(&self, block: &Range<usize>) -> bool {
        self.lines[block.clone()].iter().any(|line| line.chars().any(char::is_alphanumeric))
            || self.lines.iter().all(|line| !line.chars().any(char::is_alphanumeric))
    }

    /// A unique line above the block, below which the block stands only once.
    fn heading(&self, block: &Range<usize>, found: &[usize]) -> Option<usize> {
        if found.iter().any(|place| *place > block.start) {
            return None;
        }
        let before = found.iter().filter(|place| **place < block.start).max().copied()?;
        (before..block.start).rev().find(|line| {
            let text = self.lines[*line].as_str();
            text.chars().any(char::is_alphanumeric)
                && self.by_text.get(text).is_some_and(|places| places.len() == 1)
                && self.lines.iter().filter(|other| other.trim() == text.trim()).count() == 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(lines: &[&str]) -> Document {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Document { path: "a.py".into(), lines, open: true, first_line: 1, shows_end: true, again: false }
    }

    #[test]
    fn a_change_is_shown_with_two_lines_around_it() {
        let document = document(&["one", "two", "three", "four", "five", "six", "seven"]);
        let mut draft = Draft::new(&document);
        assert_eq!(draft.section(false), "");
        draft.set(3, "FOUR".into());
        assert_eq!(
            draft.section(false),
            "*** Update File: a.py\n@@\n two\n three\n-four\n+FOUR\n five\n six\n"
        );
    }

    #[test]
    fn hunks_are_in_order_and_share_no_line() {
        let document = document(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
        let mut draft = Draft::new(&document);
        draft.set(1, "B".into());
        draft.set(4, "E".into());
        draft.set(9, "J".into());
        assert_eq!(
            draft.section(false),
            "*** Update File: a.py\n@@\n a\n-b\n+B\n c\n d\n-e\n+E\n f\n g\n@@\n h\n i\n-j\n+J\n"
        );
    }

    #[test]
    fn context_grows_until_the_place_is_unique() {
        let mut lines = vec!["start"];
        lines.extend(["x", "y", "z"].repeat(3));
        lines.push("end");
        let document = document(&lines);
        let mut draft = Draft::new(&document);
        draft.set(2, "Y".into());
        let section = draft.section(false);
        assert!(section.contains(" start\n x\n-y\n+Y\n z\n"), "{section}");
        let mut draft = Draft::new(&document);
        draft.set(5, "Y".into());
        let places = Places::new(&document.lines);
        for hunk in draft.hunks(&draft.steps()) {
            assert_eq!(places.of(&old_lines(&draft.steps()[hunk.steps]), usize::MAX).len(), 1);
        }
    }

    #[test]
    fn a_long_repetition_gets_a_heading_or_all_it_needs() {
        let mut lines: Vec<String> = Vec::new();
        for name in ["first", "second"] {
            lines.push(format!("def {name}():"));
            lines.extend((0..40).map(|number| format!("    step({number})")));
        }
        let document = Document { lines, ..document(&[]) };
        let mut draft = Draft::new(&document);
        draft.set(62, "    step(99)".into());
        assert!(draft.section(false).contains("@@ def second():\n"), "{}", draft.section(false));
        let mut draft = Draft::new(&document);
        draft.set(20, "    step(99)".into());
        assert!(
            draft.section(false).contains(" def first():\n")
                || draft.section(false).contains(" def second():\n")
        );
    }

    #[test]
    fn an_empty_document_takes_lines_without_context() {
        let document = document(&[]);
        let mut draft = Draft::new(&document);
        draft.insert(0, vec!["one".into(), "two".into()]);
        assert_eq!(draft.section(false), "*** Update File: a.py\n@@\n+one\n+two\n");
    }

    /// Whatever is changed, and however often lines repeat, the patch gives the draft: read our way, which
    /// refuses a hunk that fits twice, and the Codex tool's way, which takes the first place.
    #[test]
    fn random_changes_arrive_in_their_place() {
        let mut state = 7_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for case in 0..400 {
            let kinds = 1 + random(6);
            let lines = (0..=random(60)).map(|_| ["", "a", "  b", "c()", "}", "é"][random(kinds)].to_owned());
            let document = Document { lines: lines.collect(), ..document(&[]) };
            let mut draft = Draft::new(&document);
            for _ in 0..=random(5) {
                let count = draft.lines().len();
                match random(3) {
                    0 if count > 0 => draft.set(random(count), "changed".into()),
                    1 if count > 1 => {
                        let start = random(count);
                        draft.remove(start..(start + 1 + random(3)).min(count));
                    }
                    _ => draft.insert(random(count + 1), vec!["new".into(), "a".into()]),
                }
            }
            let text = |lines: &[String]| lines.iter().flat_map(|line| [line, "\n"]).collect::<String>();
            let files = std::collections::BTreeMap::from([("a.py".to_owned(), text(&document.lines))]);
            let patch = format!("*** Begin Patch\n{}*** End Patch\n", draft.section(false));
            if draft.section(false).is_empty() {
                continue;
            }
            for mode in [ensemble_edit::Mode::Unique, ensemble_edit::Mode::Codex] {
                let outcome = ensemble_edit::apply_patch(&files, &patch, mode);
                assert!(outcome.is_complete(), "{case} {mode:?} {:?}\n{patch}", outcome.missed);
                assert_eq!(outcome.files["a.py"], text(&draft.lines()), "{case} {mode:?}\n{patch}");
            }
        }
    }

    #[test]
    fn endless_repetition_is_quick() {
        let document = Document { lines: vec!["x".into(); 20_000], ..document(&[]) };
        let mut draft = Draft::new(&document);
        draft.set(10_000, "y".into());
        assert!(draft.section(false).lines().count() >= 20_000);
        for line in (0..20_000).step_by(2) {
            draft.set(line, format!("z{line}"));
        }
        assert!(draft.section(false).contains("+z0\n"));
    }
}

//! A document while it is changed, and its changes as a patch.

use std::{collections::HashMap, fmt::Write as _, ops::Range};

use super::conversation::Document;

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

    /// The changes as a section of a patch; empty if there are none.
    pub(super) fn section(&self) -> String {
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
        let mut at = 0;
        while at < steps.len() {
            if matches!(steps[at], Step::Keep(_)) {
                at += 1;
                continue;
            }
            let end =
                (at..steps.len()).find(|next| matches!(steps[*next], Step::Keep(_))).unwrap_or(steps.len());
            let mut hunk = Hunk::around(at..end, steps, &places);
            // Old lines belong to one hunk each: hunks that would share some become one.
            while let Some(before) = hunks.pop_if(|before| before.steps.end > hunk.steps.start) {
                hunk = Hunk::around(before.changed.start..hunk.changed.end, steps, &places);
            }
            hunks.push(hunk);
            at = end;
        }
        hunks
    }
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
            let found = places.of(&block);
            let whole = range.start == 0 && range.end == steps.len();
            // A block of nothing but blank lines is unique in name only.
            if whole || (found.len() == 1 && places.says_something(&block)) {
                return Self { changed, steps: range, heading: None };
            }
            if context >= CONTEXT_WITHOUT_HEADING
                && let Some(heading) = places.heading(&block, &found)
            {
                return Self { changed, steps: range, heading: Some(heading) };
            }
            context += 1;
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

    /// Where the lines of a block stand; stops at the second place, which is one too many, unless a heading
    /// needs them all.
    fn of(&self, block: &Range<usize>) -> Vec<usize> {
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
        Document { path: "a.py".into(), lines, open: true, first_line: 1, shows_end: true }
    }

    #[test]
    fn a_change_is_shown_with_two_lines_around_it() {
        let document = document(&["one", "two", "three", "four", "five", "six", "seven"]);
        let mut draft = Draft::new(&document);
        assert_eq!(draft.section(), "");
        draft.set(3, "FOUR".into());
        assert_eq!(draft.section(), "*** Update File: a.py\n@@\n two\n three\n-four\n+FOUR\n five\n six\n");
    }

    #[test]
    fn hunks_are_in_order_and_share_no_line() {
        let document = document(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
        let mut draft = Draft::new(&document);
        draft.set(1, "B".into());
        draft.set(4, "E".into());
        draft.set(9, "J".into());
        assert_eq!(
            draft.section(),
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
        let section = draft.section();
        assert!(section.contains(" start\n x\n-y\n+Y\n z\n"), "{section}");
        let mut draft = Draft::new(&document);
        draft.set(5, "Y".into());
        let places = Places::new(&document.lines);
        for hunk in draft.hunks(&draft.steps()) {
            assert_eq!(places.of(&old_lines(&draft.steps()[hunk.steps])).len(), 1);
        }
    }

    #[test]
    fn a_long_repetition_gets_a_heading_or_all_it_needs() {
        let mut lines: Vec<String> = Vec::new();
        for name in ["first", "second"] {
            lines.push(format!("def {name}():"));
            lines.extend((0..40).map(|number| format!("    step({})", number % 2)));
        }
        let document = Document { lines, ..document(&[]) };
        let mut draft = Draft::new(&document);
        draft.set(80, "    step(9)".into());
        assert!(draft.section().contains("@@ def second():\n"), "{}", draft.section());
        let mut draft = Draft::new(&document);
        draft.set(20, "    step(9)".into());
        assert!(draft.section().contains(" def first():\n") || draft.section().contains(" def second():\n"));
    }

    #[test]
    fn an_empty_document_takes_lines_without_context() {
        let document = document(&[]);
        let mut draft = Draft::new(&document);
        draft.insert(0, vec!["one".into(), "two".into()]);
        assert_eq!(draft.section(), "*** Update File: a.py\n@@\n+one\n+two\n");
    }
}

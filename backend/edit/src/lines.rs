//! The lines of a base text, indexed once so that blocks of lines are found without reading it again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::hunk::Agreement;
use crate::position::{ByteOffset, TextIndex, Utf16Offset};

/// Marks the end of a chain of lines with the same text.
const NONE: u32 = u32::MAX;

/// A text cut into lines, with the places of every line by its folded text.
///
/// Lines end with `\n`, `\r\n` or a lone `\r`. A final line end starts no further line, so the empty text
/// has no lines.
#[derive(Debug)]
pub(crate) struct LineTable {
    index: TextIndex,
    spans: Vec<Span>,
    /// The number of the folded text of each line.
    numbers: Vec<u32>,
    /// The first line with each number.
    first: Vec<u32>,
    /// For each line, the next one with the same number.
    next: Vec<u32>,
    known: HashMap<Box<str>, u32>,
    /// The number of lines up to the last one that is not blank.
    solid_len: u32,
}

/// Where one line starts, where its text ends, and where the next line starts.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
    next: usize,
}

impl LineTable {
    /// Cuts and indexes a text.
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        let index = TextIndex::new(text);
        let spans = split(index.text());
        let mut known: HashMap<Box<str>, u32> = HashMap::new();
        let mut numbers = Vec::with_capacity(spans.len());
        let mut first: Vec<u32> = Vec::new();
        let mut last: Vec<u32> = Vec::new();
        let mut next = vec![NONE; spans.len()];
        for (line, span) in spans.iter().enumerate() {
            let folded = fold(&index.text()[span.start..span.end]);
            let number = if let Some(&number) = known.get(folded.as_str()) {
                next[last[number as usize] as usize] = line as u32;
                last[number as usize] = line as u32;
                number
            } else {
                let number = first.len() as u32;
                first.push(line as u32);
                last.push(line as u32);
                known.insert(folded.into_boxed_str(), number);
                number
            };
            numbers.push(number);
        }
        let is_solid = |span: &Span| !index.text()[span.start..span.end].trim().is_empty();
        let solid_len = spans.iter().rposition(is_solid).map_or(0, |last| last as u32 + 1);
        Self { index, spans, numbers, first, next, known, solid_len }
    }

    /// The positions of the text.
    pub(crate) fn index(&self) -> &TextIndex {
        &self.index
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        self.index.text()
    }

    /// The number of lines.
    pub(crate) fn len(&self) -> u32 {
        self.spans.len() as u32
    }

    /// The text of a line without its line end.
    pub(crate) fn line(&self, line: u32) -> &str {
        let span = self.spans[line as usize];
        &self.text()[span.start..span.end]
    }

    /// The line end of a line; empty on a last line without one.
    pub(crate) fn line_end(&self, line: u32) -> &str {
        let span = self.spans[line as usize];
        &self.text()[span.end..span.next]
    }

    /// The byte at which a line starts; for the line behind the last one, the end of the text.
    pub(crate) fn start_of(&self, line: u32) -> usize {
        self.spans.get(line as usize).map_or(self.text().len(), |span| span.start)
    }

    /// The line a byte of the text is on, its line end included.
    pub(crate) fn line_at(&self, at: usize) -> u32 {
        self.spans.partition_point(|span| span.next <= at) as u32
    }

    /// The UTF-16 position at which a line starts; for the line behind the last one, the end.
    pub(crate) fn utf16_start_of(&self, line: u32) -> Utf16Offset {
        self.index.utf16_of(ByteOffset(self.start_of(line))).expect("lines start between characters")
    }

    /// The text of a range of lines with their line ends.
    pub(crate) fn block(&self, lines: Range<u32>) -> &str {
        &self.text()[self.start_of(lines.start)..self.start_of(lines.end)]
    }

    /// Whether the text is empty or ends with a line end.
    pub(crate) fn is_terminated(&self) -> bool {
        self.spans.last().is_none_or(|span| span.end < span.next)
    }

    /// The first line end of the text, for lines written into it.
    pub(crate) fn usual_line_end(&self) -> &str {
        match self.spans.first() {
            Some(span) if span.end < span.next => &self.text()[span.end..span.next],
            _ => "\n",
        }
    }

    /// The number under which a line of this text would be known; `None` when no line is like it.
    pub(crate) fn number_of(&self, line: &str) -> Option<u32> {
        self.known.get(fold(line).as_str()).copied()
    }

    /// The number of a line of the text; `None` behind the last one.
    pub(crate) fn number_at(&self, line: u32) -> Option<u32> {
        self.numbers.get(line as usize).copied()
    }

    /// The numbers of all lines.
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Whether nothing but blank lines stands from a line on.
    pub(crate) fn is_at_end(&self, line: u32) -> bool {
        line >= self.solid_len
    }

    /// All lines with a number, ascending.
    pub(crate) fn lines_with(&self, number: u32) -> impl Iterator<Item = u32> {
        let mut line = self.first[number as usize];
        std::iter::from_fn(move || {
            let found = (line != NONE).then_some(line)?;
            line = self.next[found as usize];
            Some(found)
        })
    }

    /// All lines whose folded text contains a text that is already folded, ascending.
    pub(crate) fn lines_containing(&self, folded: &str) -> Vec<u32> {
        let numbers = self.known.iter().filter(|(line, _)| line.contains(folded)).map(|(_, &number)| number);
        let mut lines: Vec<u32> = numbers.flat_map(|number| self.lines_with(number)).collect();
        lines.sort_unstable();
        lines
    }

    /// Whether a line has nothing but blanks.
    pub(crate) fn is_blank(&self, line: u32) -> bool {
        self.line(line).trim().is_empty()
    }

    /// How exactly a line of the text agrees with one of a patch; `None` when they differ.
    pub(crate) fn likeness(&self, line: u32, wanted: &str) -> Option<Agreement> {
        let found = self.line(line);
        if found == wanted {
            Some(Agreement::Exact)
        } else if found.trim_end() == wanted.trim_end() {
            Some(Agreement::TrimmedEnd)
        } else if found.trim() == wanted.trim() {
            Some(Agreement::Trimmed)
        } else {
            (fold(found) == fold(wanted)).then_some(Agreement::Folded)
        }
    }
}

/// Cuts a text into lines.
fn split(text: &str) -> Vec<Span> {
    let bytes = text.as_bytes();
    let mut spans = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let end_len = match bytes[at] {
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => 2,
            b'\r' | b'\n' => 1,
            _ => 0,
        };
        if end_len > 0 {
            spans.push(Span { start, end: at, next: at + end_len });
            start = at + end_len;
        }
        at += end_len.max(1);
    }
    if start < bytes.len() {
        spans.push(Span { start, end: bytes.len(), next: bytes.len() });
    }
    spans
}

/// The loosest form of a line: no blanks at the ends, plain dashes, quotes and spaces.
pub(crate) fn fold(line: &str) -> String {
    let trimmed = line.trim();
    if trimmed.is_ascii() {
        return trimmed.to_owned();
    }
    trimmed
        .chars()
        .map(|character| match character {
            '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
            '\u{2018}'..='\u{201b}' => '\'',
            '\u{201c}'..='\u{201f}' => '"',
            '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_every_kind_of_line_end() {
        let table = LineTable::new("one\r\ntwo\rthree\n\nlast");
        let lines: Vec<_> = (0..table.len()).map(|line| (table.line(line), table.line_end(line))).collect();
        assert_eq!(lines, [("one", "\r\n"), ("two", "\r"), ("three", "\n"), ("", "\n"), ("last", "")]);
        assert!(!table.is_terminated());
        assert_eq!(LineTable::new("").len(), 0);
        assert_eq!(LineTable::new("\n").len(), 1);
        assert_eq!(LineTable::new("a\n").len(), 1);
    }

    #[test]
    fn like_lines_share_a_number() {
        let table = LineTable::new("  a – b\nc\na - b\t\n");
        let number = table.number_of("a - b").unwrap();
        assert_eq!(table.lines_with(number).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(table.likeness(0, "  a - b"), Some(Agreement::Folded));
        assert_eq!(table.likeness(2, "a - b"), Some(Agreement::TrimmedEnd));
        assert_eq!(table.likeness(2, " a - b"), Some(Agreement::Trimmed));
        assert_eq!(table.likeness(1, "c"), Some(Agreement::Exact));
        assert_eq!(table.likeness(1, "d"), None);
    }
}

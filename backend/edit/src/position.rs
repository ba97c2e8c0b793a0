//! Positions in a text: bytes as Rust counts, UTF-16 units as the browser and the CRDT count.
//!
//! The two kinds are types of their own, so they can only be exchanged through a [`TextIndex`], which
//! knows the text both refer to.

use std::ops::Range;
use std::sync::Arc;

/// Bytes between two marks of the index: what one conversion may have to walk through.
const MARK_BYTES: usize = 512;

/// A position counted in bytes of UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteOffset(pub usize);

/// A position counted in UTF-16 code units, as in the browser and in the CRDT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utf16Offset(pub u32);

/// A position as an editor shows it, both parts counted from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineColumn {
    /// The line, counted from zero; lines end at `\n`.
    pub line: u32,
    /// The distance from the start of the line in UTF-16 units.
    pub column: Utf16Offset,
}

/// A text with what is needed to convert between kinds of positions quickly.
///
/// Building it walks through the text once. A conversion is a binary search and a walk through at most
/// 512 bytes, also inside very long lines. Positions outside the text, or inside a character, convert to
/// `None`.
#[derive(Clone, Debug)]
pub struct TextIndex {
    text: Arc<str>,
    /// Byte positions at which lines start; the first is 0.
    line_starts: Vec<usize>,
    /// Pairs of the same position in bytes and in UTF-16 units, in ascending order.
    marks: Vec<(usize, u32)>,
    utf16_len: u32,
}

impl TextIndex {
    /// Indexes a text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let mut line_starts = vec![0];
        let mut marks = vec![(0, 0)];
        let mut units = 0u32;
        let mut next_mark = MARK_BYTES;
        for (at, character) in text.char_indices() {
            if at >= next_mark {
                marks.push((at, units));
                next_mark = at + MARK_BYTES;
            }
            units += character.len_utf16() as u32;
            if character == '\n' {
                line_starts.push(at + 1);
            }
        }
        Self { text, line_starts, marks, utf16_len: units }
    }

    /// The indexed text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The indexed text, shared.
    pub fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The length of the text in UTF-16 units.
    pub fn utf16_len(&self) -> Utf16Offset {
        Utf16Offset(self.utf16_len)
    }

    /// The number of lines, counting an empty one after a final `\n`.
    pub fn line_count(&self) -> u32 {
        self.line_starts.len() as u32
    }

    /// Converts a byte position; `None` outside the text or inside a character.
    pub fn utf16_of(&self, at: ByteOffset) -> Option<Utf16Offset> {
        if !self.text.is_char_boundary(at.0) {
            return None;
        }
        let mark = self.marks.partition_point(|&(bytes, _)| bytes <= at.0) - 1;
        let (bytes, units) = self.marks[mark];
        let walked: usize = self.text[bytes..at.0].chars().map(char::len_utf16).sum();
        Some(Utf16Offset(units + walked as u32))
    }

    /// Converts a UTF-16 position; `None` outside the text or between the halves of a surrogate pair.
    pub fn byte_of(&self, at: Utf16Offset) -> Option<ByteOffset> {
        if at.0 > self.utf16_len {
            return None;
        }
        let mark = self.marks.partition_point(|&(_, units)| units <= at.0) - 1;
        let (mut bytes, mut units) = self.marks[mark];
        for character in self.text[bytes..].chars() {
            if units >= at.0 {
                break;
            }
            units += character.len_utf16() as u32;
            bytes += character.len_utf8();
        }
        (units == at.0).then_some(ByteOffset(bytes))
    }

    /// Converts a byte range; `None` when an end does not convert or the range is backwards.
    pub fn utf16_range(&self, range: &Range<ByteOffset>) -> Option<Range<Utf16Offset>> {
        let (start, end) = (self.utf16_of(range.start)?, self.utf16_of(range.end)?);
        (start <= end).then_some(start..end)
    }

    /// Converts a UTF-16 range; `None` when an end does not convert or the range is backwards.
    pub fn byte_range(&self, range: &Range<Utf16Offset>) -> Option<Range<ByteOffset>> {
        let (start, end) = (self.byte_of(range.start)?, self.byte_of(range.end)?);
        (start <= end).then_some(start..end)
    }

    /// The line and column of a UTF-16 position; `None` as for [`TextIndex::byte_of`].
    pub fn line_column_of(&self, at: Utf16Offset) -> Option<LineColumn> {
        let bytes = self.byte_of(at)?;
        let line = self.line_starts.partition_point(|&start| start <= bytes.0) - 1;
        let start = self.utf16_of(ByteOffset(self.line_starts[line]))?;
        Some(LineColumn { line: line as u32, column: Utf16Offset(at.0 - start.0) })
    }

    /// The UTF-16 position of a line and column; `None` when the line has no such column.
    pub fn utf16_of_line_column(&self, at: LineColumn) -> Option<Utf16Offset> {
        let line = at.line as usize;
        let start = self.utf16_of(ByteOffset(*self.line_starts.get(line)?))?;
        let end = match self.line_starts.get(line + 1) {
            Some(&next) => self.utf16_of(ByteOffset(next - 1))?,
            None => self.utf16_len(),
        };
        let position = Utf16Offset(start.0.checked_add(at.column.0)?);
        (position <= end && self.byte_of(position).is_some()).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_convert_both_ways_everywhere() {
        let text = format!("aé😀\n{}\nlast", "x😀é".repeat(400));
        let index = TextIndex::new(text.as_str());
        let mut units = 0;
        for (at, character) in text.char_indices() {
            assert_eq!(index.utf16_of(ByteOffset(at)), Some(Utf16Offset(units)));
            assert_eq!(index.byte_of(Utf16Offset(units)), Some(ByteOffset(at)));
            units += character.len_utf16() as u32;
        }
        assert_eq!(index.utf16_len(), Utf16Offset(units));
        assert_eq!(index.byte_of(index.utf16_len()), Some(ByteOffset(text.len())));
    }

    #[test]
    fn positions_inside_characters_or_outside_are_refused() {
        let index = TextIndex::new("a😀b");
        assert_eq!(index.utf16_of(ByteOffset(2)), None);
        assert_eq!(index.utf16_of(ByteOffset(7)), None);
        assert_eq!(index.byte_of(Utf16Offset(2)), None);
        assert_eq!(index.byte_of(Utf16Offset(5)), None);
    }

    #[test]
    fn lines_and_columns_convert_both_ways() {
        let index = TextIndex::new("one\n😀x\n");
        let at = |line, column| LineColumn { line, column: Utf16Offset(column) };
        for (position, expected) in
            [(0, at(0, 0)), (3, at(0, 3)), (4, at(1, 0)), (6, at(1, 2)), (8, at(2, 0))]
        {
            assert_eq!(index.line_column_of(Utf16Offset(position)), Some(expected));
            assert_eq!(index.utf16_of_line_column(expected), Some(Utf16Offset(position)));
        }
        assert_eq!(index.utf16_of_line_column(at(0, 4)), None);
        assert_eq!(index.utf16_of_line_column(at(3, 0)), None);
        assert_eq!(index.line_count(), 3);
    }
}

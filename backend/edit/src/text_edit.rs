//! Edits of a text: a range and its replacement, and ordered lists of them.

use std::ops::Range;

use crate::position::{ByteOffset, TextIndex, Utf16Offset};

/// A range of a text and what replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextEdit {
    /// What is replaced, in bytes of the text before all edits; empty for an insertion.
    pub range: Range<ByteOffset>,
    /// What stands there afterwards; empty for a deletion.
    pub replacement: String,
}

impl TextEdit {
    /// An edit of a byte range.
    pub fn new(range: Range<usize>, replacement: impl Into<String>) -> Self {
        Self { range: ByteOffset(range.start)..ByteOffset(range.end), replacement: replacement.into() }
    }
}

/// A [`TextEdit`] in UTF-16 units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utf16Edit {
    /// What is replaced, in UTF-16 units of the text before all edits.
    pub range: Range<Utf16Offset>,
    /// What stands there afterwards.
    pub replacement: String,
}

/// Why a list of edits is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// An edit ends before it starts.
    #[error("the edit at byte {0} ends before it starts")]
    Backwards(usize),
    /// An edit starts before the one in front of it ends.
    #[error("the edit at byte {0} overlaps the one before it")]
    Overlap(usize),
    /// An end of an edit is outside the text or inside a character.
    #[error("byte {0} is outside the text or inside a character")]
    NotABoundary(usize),
}

/// Edits of one text, in order and without overlap; all ranges mean the text before any of them.
///
/// Two edits may touch; an insertion at the end of a replaced range follows its replacement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditScript {
    edits: Vec<TextEdit>,
}

impl EditScript {
    /// Checks order and overlap of a list of edits.
    pub fn new(edits: Vec<TextEdit>) -> Result<Self, EditError> {
        let mut end = ByteOffset(0);
        for edit in &edits {
            if edit.range.end < edit.range.start {
                return Err(EditError::Backwards(edit.range.start.0));
            }
            if edit.range.start < end {
                return Err(EditError::Overlap(edit.range.start.0));
            }
            end = edit.range.end;
        }
        Ok(Self { edits })
    }

    /// The script of edits in UTF-16 units; refuses what [`EditScript::new`] and [`EditScript::apply`] refuse.
    pub fn from_utf16(edits: Vec<Utf16Edit>, index: &TextIndex) -> Result<Self, EditError> {
        let convert = |at: Utf16Offset| index.byte_of(at).ok_or(EditError::NotABoundary(at.0 as usize));
        let converted = edits.into_iter().map(|edit| {
            let range = convert(edit.range.start)?..convert(edit.range.end)?;
            Ok(TextEdit { range, replacement: edit.replacement })
        });
        Self::new(converted.collect::<Result<_, _>>()?)
    }

    /// The edits, in the order of the text.
    pub fn edits(&self) -> &[TextEdit] {
        &self.edits
    }

    /// The edits, taken out.
    pub fn into_edits(self) -> Vec<TextEdit> {
        self.edits
    }

    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The text after all edits; refuses ranges outside the text or inside characters.
    pub fn apply(&self, text: &str) -> Result<String, EditError> {
        let mut result = String::with_capacity(text.len());
        let mut copied = 0;
        for edit in &self.edits {
            let (start, end) = (edit.range.start.0, edit.range.end.0);
            let kept = text.get(copied..start).ok_or(EditError::NotABoundary(start))?;
            if !text.is_char_boundary(end) {
                return Err(EditError::NotABoundary(end));
            }
            result.push_str(kept);
            result.push_str(&edit.replacement);
            copied = end;
        }
        result.push_str(&text[copied..]);
        Ok(result)
    }

    /// The same edits in UTF-16 units of the indexed text; refuses what [`EditScript::apply`] refuses.
    pub fn to_utf16(&self, index: &TextIndex) -> Result<Vec<Utf16Edit>, EditError> {
        let convert = |at: ByteOffset| index.utf16_of(at).ok_or(EditError::NotABoundary(at.0));
        self.edits
            .iter()
            .map(|edit| {
                let range = convert(edit.range.start)?..convert(edit.range.end)?;
                Ok(Utf16Edit { range, replacement: edit.replacement.clone() })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_apply_in_order() {
        let script = EditScript::new(vec![
            TextEdit::new(0..1, "A"),
            TextEdit::new(1..1, "-"),
            TextEdit::new(3..3, "!"),
        ])
        .unwrap();
        assert_eq!(script.apply("abc").unwrap(), "A-bc!");
    }

    #[test]
    fn bad_ranges_are_refused() {
        assert_eq!(
            EditScript::new(vec![TextEdit {
                range: ByteOffset(2)..ByteOffset(1),
                replacement: String::new()
            }]),
            Err(EditError::Backwards(2))
        );
        let twice = vec![TextEdit::new(0..2, ""), TextEdit::new(1..3, "")];
        assert_eq!(EditScript::new(twice), Err(EditError::Overlap(1)));
        let inside = EditScript::new(vec![TextEdit::new(0..1, "")]).unwrap();
        assert_eq!(inside.apply("é"), Err(EditError::NotABoundary(1)));
        assert_eq!(inside.to_utf16(&TextIndex::new("é")), Err(EditError::NotABoundary(1)));
        let outside = EditScript::new(vec![TextEdit::new(4..5, "")]).unwrap();
        assert_eq!(outside.apply("abc"), Err(EditError::NotABoundary(4)));
    }

    #[test]
    fn utf16_ranges_count_surrogates() {
        let script = EditScript::new(vec![TextEdit::new(4..5, "x")]).unwrap();
        let edits = script.to_utf16(&TextIndex::new("😀b")).unwrap();
        assert_eq!(edits, [Utf16Edit { range: Utf16Offset(2)..Utf16Offset(3), replacement: "x".into() }]);
    }
}

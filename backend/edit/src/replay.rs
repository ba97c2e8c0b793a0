//! A base text with the events of a patch applied, for texts nobody else edits meanwhile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::hunk::HunkId;
use crate::position::{TextIndex, Utf16Offset};
use crate::stream::PatchEvent;
use crate::text_edit::{EditError, EditScript, TextEdit};

/// A base text and the edits of hunks on it, in the order in which they were settled.
#[derive(Clone, Debug)]
pub struct PatchedText {
    index: TextIndex,
    edits: Vec<HunkEdit>,
}

#[derive(Clone, Debug)]
struct HunkEdit {
    hunk: HunkId,
    delete: Range<usize>,
    insert_at: usize,
    insert: String,
}

impl PatchedText {
    /// A base text without edits.
    pub fn new(base: impl Into<Arc<str>>) -> Self {
        Self { index: TextIndex::new(base), edits: Vec::new() }
    }

    /// Adds an edit; refuses positions outside the base text or inside characters.
    pub fn edit(
        &mut self,
        hunk: HunkId,
        delete: &Range<Utf16Offset>,
        insert_at: Utf16Offset,
        insert: &str,
    ) -> Result<(), EditError> {
        let byte = |at| self.index.byte_of(at).map(|at| at.0).ok_or(EditError::NotABoundary(at.0 as usize));
        let delete = byte(delete.start)?..byte(delete.end)?;
        if delete.end < delete.start {
            return Err(EditError::Backwards(delete.start));
        }
        let insert_at = byte(insert_at)?;
        self.edits.push(HunkEdit { hunk, delete, insert_at, insert: insert.to_owned() });
        Ok(())
    }

    /// Takes back all edits of a hunk.
    pub fn revert(&mut self, hunk: HunkId) {
        self.edits.retain(|edit| edit.hunk != hunk);
    }

    /// All edits as one script on the base text.
    pub fn script(&self) -> EditScript {
        let mut inserts: BTreeMap<usize, String> = BTreeMap::new();
        for edit in self.edits.iter().filter(|edit| !edit.insert.is_empty()) {
            inserts.entry(edit.insert_at).or_default().push_str(&edit.insert);
        }
        let mut deletes: Vec<Range<usize>> =
            self.edits.iter().map(|edit| edit.delete.clone()).filter(|range| !range.is_empty()).collect();
        deletes.sort_unstable_by_key(|range| range.start);

        let mut edits: Vec<TextEdit> = Vec::new();
        let mut end = 0;
        for delete in deletes {
            let mut start = delete.start.max(end);
            for (&at, _) in inserts.range(start + 1..delete.end.max(start + 1)) {
                edits.push(TextEdit::new(start..at, ""));
                start = at;
            }
            if start < delete.end {
                edits.push(TextEdit::new(start..delete.end, ""));
            }
            end = end.max(delete.end);
        }
        edits.extend(inserts.into_iter().map(|(at, insert)| TextEdit::new(at..at, insert)));
        edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
        EditScript::new(edits).expect("deletions were cut where insertions stand")
    }

    /// The text with all edits.
    pub fn text(&self) -> String {
        self.script().apply(self.index.text()).expect("positions were checked when they came")
    }
}

/// A set of files and the events of a patch on them.
#[derive(Clone, Debug, Default)]
pub struct PatchedFiles {
    files: BTreeMap<String, PatchedText>,
}

impl PatchedFiles {
    /// Files before a patch.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let files = files.into_iter().map(|(path, text)| (path.clone(), PatchedText::new(text.as_str())));
        Self { files: files.collect() }
    }

    /// Applies one event; events that change no text are fine. Refuses positions outside the base texts,
    /// which a stream over the same files never emits.
    pub fn apply(&mut self, event: &PatchEvent) -> Result<(), EditError> {
        match event {
            PatchEvent::Edit { hunk, path, delete, insert_at, insert } => {
                if let Some(file) = self.files.get_mut(&**path) {
                    file.edit(*hunk, delete, *insert_at, insert)?;
                }
            }
            PatchEvent::HunkReverted(missed) => {
                if let Some(file) = self.files.get_mut(&*missed.path) {
                    file.revert(missed.hunk);
                }
            }
            PatchEvent::AddFile { path, text, .. } => {
                self.files.insert(path.to_string(), PatchedText::new(text.as_str()));
            }
            PatchEvent::DeleteFile { path, .. } => {
                self.files.remove(&**path);
            }
            PatchEvent::MoveFile { from, to, .. } => {
                if let Some(file) = self.files.remove(&**from) {
                    self.files.insert(to.to_string(), file);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The files as they are now.
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(path, file)| (path.clone(), file.text())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_compose_in_the_order_of_events() {
        let at = Utf16Offset;
        let mut text = PatchedText::new("abcdef");
        text.edit(HunkId(0), &(at(1)..at(4)), at(1), "X").unwrap();
        text.edit(HunkId(1), &(at(4)..at(4)), at(4), "Y").unwrap();
        text.edit(HunkId(1), &(at(4)..at(4)), at(4), "Z").unwrap();
        text.edit(HunkId(2), &(at(2)..at(2)), at(2), "!").unwrap();
        assert_eq!(text.text(), "aX!YZef");
        text.revert(HunkId(1));
        text.revert(HunkId(2));
        assert_eq!(text.text(), "aXef");
        assert!(text.edit(HunkId(3), &(at(7)..at(7)), at(7), "").is_err());
    }
}

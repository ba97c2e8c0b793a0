//! A file a patch works on: its base text and what the hunks so far did to it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::writer::Written;
use crate::lines::LineTable;

/// Gives the base text of a path: the version the model was shown. `None` when there is no such document.
pub type Lookup = Box<dyn FnMut(&str) -> Option<Arc<str>> + Send>;

/// A file with its base text.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    pub(super) path: Arc<str>,
    pub(super) table: Arc<LineTable>,
    /// What finished hunks replaced or where they inserted.
    pub(super) claims: Claims,
    /// Whether a finished hunk wrote the missing line end of the last line.
    pub(super) terminated: bool,
    /// The first line of the last finished hunk of this section. The next one is taken to start behind it,
    /// though not behind its last line, because neighbors may share unchanged lines.
    pub(super) cursor: u32,
}

impl OpenFile {
    fn new(path: Arc<str>, text: Arc<str>) -> Self {
        let table = Arc::new(LineTable::new(text));
        Self { path, table, claims: Claims::default(), terminated: false, cursor: 0 }
    }

    /// Whether a finished hunk replaced a line.
    pub(super) fn is_replaced(&self, line: u32) -> bool {
        line < self.table.len() && self.claims.is_replaced(self.table.start_of(line))
    }

    /// Takes note of a finished hunk.
    pub(super) fn keep(&mut self, written: Written) {
        self.claims.extend(written.claims, self.table.start_of(written.start));
        self.terminated |= written.terminated;
        self.cursor = written.start;
    }
}

/// Stretches of a base text that finished hunks replaced, and places where they inserted.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// In order; they do not overlap, so their ends are in order too.
    claims: Vec<Claim>,
}

#[derive(Clone, Debug)]
struct Claim {
    /// In bytes of the base text.
    range: Range<usize>,
    /// Where its hunk starts, unchanged lines included.
    hunk_start: usize,
}

impl Claims {
    /// Whether nothing was written yet.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Whether the character at a byte was replaced.
    pub(super) fn is_replaced(&self, at: usize) -> bool {
        self.overlaps(&(at..at + 1))
    }

    /// Whether a part of a stretch was replaced.
    pub(super) fn overlaps(&self, range: &Range<usize>) -> bool {
        let behind = self.claims[self.first_behind(range.start)..].iter().map(|claim| &claim.range);
        behind.take_while(|earlier| earlier.start < range.end).any(|earlier| !earlier.is_empty())
    }

    /// Whether a stretch of a hunk meets an earlier one so that the order of both would be unclear.
    ///
    /// Behind an earlier one the order of the events is the order of the text. In front of it, it is only
    /// unimportant when something lies between. Two insertions at one place come in the order of the events,
    /// which is wrong when the later hunk starts in front of the earlier one: its lines stand above.
    pub(super) fn meets(&self, range: &Range<usize>, hunk_start: usize) -> bool {
        let first = self.first_behind(range.start);
        // Of several at one place the last one starts furthest down, or it would not have been taken.
        let here = self.claims[..first].last().filter(|earlier| range.is_empty() && earlier.range == *range);
        here.is_some_and(|earlier| hunk_start < earlier.hunk_start)
            || self.claims.get(first).is_some_and(|earlier| earlier.range.start <= range.end)
    }

    /// Takes stretches of a hunk that meet none of the earlier ones.
    pub(super) fn extend(&mut self, ranges: impl IntoIterator<Item = Range<usize>>, hunk_start: usize) {
        for range in ranges {
            let key = (range.start, range.end);
            let at = self.claims.partition_point(|earlier| (earlier.range.start, earlier.range.end) <= key);
            self.claims.insert(at, Claim { range, hunk_start });
        }
    }

    /// The first that does not end in front of a byte or at it.
    fn first_behind(&self, at: usize) -> usize {
        self.claims.partition_point(|earlier| earlier.range.end <= at)
    }
}

/// All files a patch has named so far.
pub(super) struct Files {
    lookup: Lookup,
    /// By path; `None` for a path without a document, also when this patch removed or moved it.
    open: HashMap<String, Option<OpenFile>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Files").field("open", &self.open.keys()).finish_non_exhaustive()
    }
}

impl Files {
    pub(super) fn new(lookup: Lookup) -> Self {
        Self { lookup, open: HashMap::new() }
    }

    /// The file at a path, indexed on first use.
    pub(super) fn get(&mut self, path: &str) -> Option<&mut OpenFile> {
        if !self.open.contains_key(path) {
            let file = (self.lookup)(path).map(|text| OpenFile::new(Arc::from(path), text));
            self.open.insert(path.to_owned(), file);
        }
        self.open.get_mut(path)?.as_mut()
    }

    /// Remembers a file the patch wrote; later sections see its text as the base.
    pub(super) fn add(&mut self, path: &str, text: Arc<str>) {
        self.open.insert(path.to_owned(), Some(OpenFile::new(Arc::from(path), text)));
    }

    /// Remembers that the patch removed a file.
    pub(super) fn remove(&mut self, path: &str) {
        self.open.insert(path.to_owned(), None);
    }

    /// Remembers that the patch moved a file; its base text and what was done to it go along.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let moved = self.open.insert(from.to_owned(), None).flatten();
        let moved = moved.map(|file| OpenFile { path: Arc::from(to), ..file });
        self.open.insert(to.to_owned(), moved);
    }
}

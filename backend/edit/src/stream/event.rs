//! What a stream says.

use std::ops::Range;
use std::sync::Arc;

use crate::hunk::{Agreement, HunkId, Missed};
use crate::patch::FileKind;
use crate::position::Utf16Offset;

/// What a patch did, in the order in which it settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchEvent {
    /// Text outside any patch, in pieces as it arrives.
    Prose(String),
    /// A section about a file begins.
    FileBegan {
        /// The path in its normal form.
        path: Arc<str>,
        /// What the section does.
        kind: FileKind,
    },
    /// The place of a hunk is known; nothing is written yet.
    HunkAimed {
        /// The hunk.
        hunk: HunkId,
        /// Its file.
        path: Arc<str>,
        /// The line it starts at, counted from 1, unchanged lines included.
        base_line: u32,
        /// What of the base text is known to belong to it so far.
        range: Range<Utf16Offset>,
        /// How exactly that agrees with the hunk.
        agreement: Agreement,
    },
    /// A hunk changes its file; several per hunk.
    Edit {
        /// The hunk.
        hunk: HunkId,
        /// Its file.
        path: Arc<str>,
        /// What goes, in the base text; empty for an insertion.
        delete: Range<Utf16Offset>,
        /// Where the text goes, in the base text; the start of `delete`.
        insert_at: Utf16Offset,
        /// What comes; empty for a deletion.
        insert: String,
    },
    /// A hunk is complete; it had no edits when it changed nothing.
    HunkDone {
        /// The hunk.
        hunk: HunkId,
    },
    /// A hunk, or the adding, removing or moving of a file, was not applied; none of it was written.
    HunkMissed(Missed),
    /// A later line of a hunk contradicted what was written of it; the writer takes all of it back.
    HunkReverted(Missed),
    /// A new file.
    AddFile {
        /// The hunk that stands for it.
        hunk: HunkId,
        /// Its path.
        path: Arc<str>,
        /// Its text.
        text: String,
    },
    /// A file goes.
    DeleteFile {
        /// The hunk that stands for it.
        hunk: HunkId,
        /// Its path.
        path: Arc<str>,
    },
    /// A file gets another path; later events name it by the new one, still in its old base text.
    MoveFile {
        /// The hunk that stands for it.
        hunk: HunkId,
        /// The path so far.
        from: Arc<str>,
        /// The new path; no document has it.
        to: Arc<str>,
    },
    /// A line the grammar has no place for was skipped.
    Malformed {
        /// Its number in the model's answer, counted from 1.
        line: u32,
        /// What is wrong with it.
        message: String,
    },
    /// The stream was interrupted inside a hunk. What was written of it stays, the rest is dropped.
    HunkIncomplete {
        /// The hunk.
        hunk: HunkId,
        /// Its path, as the answer gave it.
        path: Arc<str>,
        /// Whether any edit of it was emitted.
        written: bool,
    },
    /// The stream is over; nothing follows.
    Finished(Summary),
}

/// What was found in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Patches.
    pub patches: u32,
    /// Hunks, files added, removed and moved included.
    pub hunks: u32,
    /// Hunks that were missed or taken back.
    pub missed: u32,
    /// Lines that were skipped.
    pub malformed: u32,
    /// Whether the stream was interrupted, or a patch lacks its closing marker.
    pub unclosed: bool,
}

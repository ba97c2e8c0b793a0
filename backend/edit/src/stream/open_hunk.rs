//! A hunk between its first and its last line.

use std::ops::Range;

use super::file::OpenFile;
use super::writer::Writer;
use crate::hunk::{HunkId, Miss, MissReason};
use crate::locate::{Aim, Matcher, Scope, locate};
use crate::patch::{LineKind, PatchLine};

/// A hunk whose end has not come.
#[derive(Debug)]
pub(super) struct OpenHunk {
    pub(super) id: HunkId,
    pub(super) scope: Scope,
    pub(super) lines: Vec<PatchLine>,
    pub(super) matcher: Matcher,
    pub(super) aimed: bool,
    /// There once its place is settled.
    pub(super) writer: Option<Writer>,
    pub(super) wrote: bool,
    /// Its failure was reported; its other lines are skipped.
    pub(super) failed: bool,
}

impl OpenHunk {
    pub(super) fn new(id: HunkId, scope: Scope) -> Self {
        Self {
            id,
            scope,
            lines: Vec::new(),
            matcher: Matcher::default(),
            aimed: false,
            writer: None,
            wrote: false,
            failed: false,
        }
    }

    /// The place at which the hunk may be written before its end.
    pub(super) fn early_place(&self, file: &OpenFile) -> Option<u32> {
        let is_first_text = self.lines.is_empty() && file.table.len() == 0;
        if is_first_text { Some(0) } else { self.matcher.settled_place(&self.scope) }
    }

    /// The lines of the base text the complete hunk covers.
    pub(super) fn locate(&self, file: &OpenFile, at_end: bool) -> Result<Range<u32>, Miss> {
        let separators = self.lines.iter().rev().take_while(|line| line.is_separator()).count();
        let lines = &self.lines[..self.lines.len() - separators];
        let old: Vec<&str> =
            lines.iter().filter(|line| line.kind != LineKind::Added).map(|line| line.text.as_str()).collect();
        let len = file.table.len();
        if old.is_empty() {
            if at_end || len == 0 {
                return Ok(len..len);
            }
            let message = format!(
                "The hunk only adds lines and does not say where in `{}`. Give at least one unchanged line \
                 before or after them.",
                file.path
            );
            return Err(Miss::new(MissReason::NoContext, message));
        }
        let aim = Aim { scope: &self.scope, at_end, cursor: file.cursor, path: &file.path };
        let place = locate(&file.table, &old, &aim)?;
        Ok(place..place + old.len() as u32)
    }
}

//! A hunk between its first and its last line.

use std::ops::Range;

use super::file::OpenFile;
use super::writer::{Writer, Written};
use crate::hunk::{Agreement, HunkId, HunkText, Miss, MissReason};
use crate::indent::Shift;
use crate::locate::nearest::alike_place;
use crate::locate::{Aim, Matcher, Scope, locate};
use crate::patch::{LineKind, PatchLine};
use crate::search::carry_over;
use crate::text_edit::TextEdit;

/// A hunk whose end has not come.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that come in any order")]
pub(super) struct OpenHunk {
    pub(super) id: HunkId,
    pub(super) scope: Scope,
    pub(super) lines: Vec<PatchLine>,
    pub(super) matcher: Matcher,
    pub(super) aimed: bool,
    /// Whether one of its lines is added.
    pub(super) has_added: bool,
    /// Where it may be written before its end, decided with its first added line.
    pub(super) early: Option<u32>,
    /// There once its place is settled.
    pub(super) writer: Option<Writer>,
    pub(super) wrote: bool,
    /// Whether its lines are all here and say all there is to say of it.
    pub(super) is_whole: bool,
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
            has_added: false,
            early: None,
            writer: None,
            wrote: false,
            is_whole: false,
            failed: false,
        }
    }

    /// The place at which the hunk may be written before its end.
    pub(super) fn early_place(&self, file: &OpenFile) -> Option<u32> {
        let is_first_text = self.lines.is_empty() && file.table.len() == 0;
        if is_first_text { Some(0) } else { self.matcher.settled_place(&self.scope) }
    }

    /// Its lines without empty ones at the end that may only separate it from what follows.
    fn solid_lines(&self) -> &[PatchLine] {
        let separators = self.lines.iter().rev().take_while(|line| line.is_separator()).count();
        &self.lines[..self.lines.len() - separators]
    }

    /// Its unchanged and removed lines.
    pub(super) fn old_lines(&self) -> Vec<&str> {
        let old = self.solid_lines().iter().filter(|line| line.kind != LineKind::Added);
        old.map(|line| line.text.as_str()).collect()
    }

    /// What it says without its place.
    pub(super) fn text(&self) -> HunkText {
        let text = |skipped: LineKind| -> String {
            let lines = self.solid_lines().iter().filter(|line| line.kind != skipped);
            lines.flat_map(|line| [line.text.as_str(), "\n"]).collect()
        };
        HunkText { old: text(LineKind::Added), new: text(LineKind::Removed), whole_lines: true }
    }

    /// How the text is indented where the hunk stands, by its first line with text.
    pub(super) fn shift(&self, file: &OpenFile, start: u32) -> Option<Shift> {
        let pairs = self.old_lines().into_iter().zip(start..file.table.len());
        pairs.into_iter().find_map(|(wanted, line)| Shift::between(wanted, file.table.line(line)))
    }

    /// The lines of the base text the complete hunk covers, and how exactly they agree.
    pub(super) fn locate(&self, file: &OpenFile, at_end: bool) -> Result<(Range<u32>, Agreement), Miss> {
        let old = self.old_lines();
        let len = file.table.len();
        if old.is_empty() {
            if at_end || len == 0 {
                return Ok((len..len, Agreement::Exact));
            }
            let message = format!(
                "The hunk only adds lines and does not say where in `{}`. Give at least one unchanged line \
                 before or after them.",
                file.path
            );
            return Err(Miss::new(MissReason::NoContext, message));
        }
        let aim = Aim { scope: &self.scope, at_end, cursor: file.cursor, path: &file.path };
        let (place, agreement) = locate(&file.table, &old, &aim)?;
        Ok((place..place + old.len() as u32, agreement))
    }
}

/// Writes a hunk that waited for its end: where it stands, how exactly, and what it wrote.
pub(super) fn write_whole(
    hunk: &OpenHunk,
    file: &OpenFile,
    at_end: bool,
    edits: &mut Vec<TextEdit>,
) -> Result<(Range<u32>, Agreement, Written), Miss> {
    let (place, agreement) = match hunk.locate(file, at_end) {
        Ok(found) => found,
        Err(miss) if miss.reason == MissReason::NotFound => match hunk.early {
            Some(start) => (start..start + hunk.old_lines().len() as u32, Agreement::Fuzzy),
            None => return write_alike(hunk, file, at_end, edits).ok_or(miss),
        },
        Err(miss) => return Err(miss),
    };
    let mut writer = Writer::new(place.start, hunk.shift(file, place.start));
    hunk.lines.iter().try_for_each(|line| writer.line(file, line, edits))?;
    Ok((place, agreement, writer.finish(file, at_end, edits)?))
}

/// Writes a hunk at the only place that is alike, when what it changes agrees there.
fn write_alike(
    hunk: &OpenHunk,
    file: &OpenFile,
    at_end: bool,
    edits: &mut Vec<TextEdit>,
) -> Option<(Range<u32>, Agreement, Written)> {
    let lines = alike_place(&file.table, &hunk.old_lines())?;
    let bytes = file.table.start_of(lines.start)..file.table.start_of(lines.end);
    if at_end || lines.start < hunk.scope.earliest || file.claims.meets(&bytes, bytes.start) {
        return None;
    }
    let text = hunk.text();
    *edits = carry_over(&file.table, &lines, &text.old, &text.new)?.into_edits();
    let written = Written { claims: vec![bytes], terminated: false, start: lines.start };
    Some((lines, Agreement::Fuzzy, written))
}

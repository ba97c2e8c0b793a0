//! Writes the lines of a hunk whose place is known, as edits of the base text.

use std::ops::Range;

use super::file::OpenFile;
use crate::diff::diff;
use crate::hunk::{Miss, MissReason};
use crate::indent::Shift;
use crate::lines::LineTable;
use crate::locate::contradiction;
use crate::locate::nearest::is_alike;
use crate::patch::{LineKind, PatchLine};
use crate::text_edit::TextEdit;

/// One hunk on its way through the base text.
///
/// Added lines that replace nothing are written at once. Removed lines and the added lines behind them wait
/// until their run ends, and are then reduced to the smallest edits.
#[derive(Debug)]
pub(super) struct Writer {
    /// Where the hunk starts in the base text.
    start: u32,
    /// The next line of the base text.
    at: u32,
    /// Removed lines, and added lines behind them, that wait for the end of their run.
    run: Option<Run>,
    /// Whether the lines before `at` include a line written at `at`, so that its place is checked.
    inserted_at: Option<u32>,
    /// Empty lines without sign that the text does not have: fine at the end of the hunk only.
    separators: u32,
    /// What was written so far.
    claims: Vec<Range<usize>>,
    /// How the text is indented at the last line with text, compared with the hunk.
    shift: Option<Shift>,
    /// Whether this hunk wrote the missing line end of the last line.
    terminated: bool,
}

#[derive(Debug)]
struct Run {
    start: u32,
    added: String,
}

/// What a finished hunk leaves behind for the hunks after it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) claims: Vec<Range<usize>>,
    pub(super) terminated: bool,
    pub(super) start: u32,
}

impl Writer {
    /// A hunk that starts at a line of the base text, and how that text is indented there.
    pub(super) fn new(at: u32, shift: Option<Shift>) -> Self {
        Self {
            start: at,
            at,
            run: None,
            inserted_at: None,
            separators: 0,
            claims: Vec::new(),
            shift,
            terminated: false,
        }
    }

    /// Writes one line; fails when it contradicts the text or an earlier hunk.
    pub(super) fn line(
        &mut self,
        file: &OpenFile,
        line: &PatchLine,
        edits: &mut Vec<TextEdit>,
    ) -> Result<(), Miss> {
        if line.is_separator() && (self.separators > 0 || !self.agrees(file, line)) {
            self.separators += 1;
            return Ok(());
        }
        if self.separators > 0 {
            return Err(contradiction(&file.table, &file.path, self.at, ""));
        }
        if line.kind == LineKind::Added {
            return self.add(file, &line.text, edits);
        }
        // The place is known, so a kept line may be quoted a little wrong; what goes may not.
        let is_alike = |table: &LineTable| self.at < table.len() && is_alike(table.line(self.at), &line.text);
        if !self.matches(file, line) && (line.kind != LineKind::Kept || !is_alike(&file.table)) {
            return Err(contradiction(&file.table, &file.path, self.at, &line.text));
        }
        if file.is_replaced(self.at) {
            return Err(overlap(file, self.at));
        }
        self.shift = Shift::between(&line.text, file.table.line(self.at)).or(self.shift.take());
        if line.kind == LineKind::Kept {
            self.end_run(file, edits)?;
        } else if self.run.is_none() {
            self.run = Some(Run { start: self.at, added: String::new() });
        }
        self.at += 1;
        Ok(())
    }

    /// Ends the hunk; `at_end` says that it stands at the end of the file.
    pub(super) fn finish(
        mut self,
        file: &OpenFile,
        at_end: bool,
        edits: &mut Vec<TextEdit>,
    ) -> Result<Written, Miss> {
        self.end_run(file, edits)?;
        if at_end && !file.table.is_at_end(self.at) {
            let message = format!(
                "The hunk says that it stands at the end of `{}`, but line {} follows it.",
                file.path,
                self.at + 1
            );
            return Err(Miss { lines: vec![self.at + 1], ..Miss::new(MissReason::NotFound, message) });
        }
        Ok(Written { claims: self.claims, terminated: self.terminated, start: self.start })
    }

    fn matches(&self, file: &OpenFile, line: &PatchLine) -> bool {
        let number = file.table.number_at(self.at);
        number.is_some() && number == file.table.number_of(&line.text)
    }

    fn agrees(&self, file: &OpenFile, line: &PatchLine) -> bool {
        self.matches(file, line) && !file.is_replaced(self.at)
    }

    fn add(&mut self, file: &OpenFile, text: &str, edits: &mut Vec<TextEdit>) -> Result<(), Miss> {
        let table = &file.table;
        let text = &self.shift.as_ref().map_or_else(|| text.to_owned(), |shift| shift.apply(text));
        if let Some(run) = &mut self.run {
            run.added.push_str(text);
            run.added.push_str(table.usual_line_end());
            return Ok(());
        }
        if self.inserted_at != Some(self.at) {
            self.claim(file, self.at..self.at)?;
            self.inserted_at = Some(self.at);
        }
        let mut insert = String::with_capacity(text.len() + 2);
        if self.at == table.len() && !table.is_terminated() && !file.terminated && !self.terminated {
            insert.push_str(table.usual_line_end());
            self.terminated = true;
        }
        insert.push_str(text);
        insert.push_str(table.usual_line_end());
        let start = table.start_of(self.at);
        edits.push(TextEdit::new(start..start, insert));
        Ok(())
    }

    fn end_run(&mut self, file: &OpenFile, edits: &mut Vec<TextEdit>) -> Result<(), Miss> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let lines = run.start..self.at;
        self.claim(file, lines.clone())?;
        let start = file.table.start_of(lines.start);
        let script = diff(file.table.block(lines.clone()), &run.added);
        edits.extend(script.into_edits().into_iter().map(|edit| {
            TextEdit::new(start + edit.range.start.0..start + edit.range.end.0, edit.replacement)
        }));
        self.terminated |= lines.end == file.table.len();
        Ok(())
    }

    /// Takes a run for this hunk, unless an earlier hunk wrote there and the order would be unclear.
    fn claim(&mut self, file: &OpenFile, lines: Range<u32>) -> Result<(), Miss> {
        let bytes = file.table.start_of(lines.start)..file.table.start_of(lines.end);
        if file.claims.meets(&bytes, file.table.start_of(self.start)) {
            return Err(overlap(file, lines.start));
        }
        self.claims.push(bytes);
        Ok(())
    }
}

pub(super) fn overlap(file: &OpenFile, line: u32) -> Miss {
    let message = format!(
        "Line {} of `{}` was already changed by an earlier hunk of this answer. Put both changes into one hunk.",
        line + 1,
        file.path
    );
    Miss { lines: vec![line + 1], ..Miss::new(MissReason::Overlap, message) }
}

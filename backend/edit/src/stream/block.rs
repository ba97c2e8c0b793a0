//! Hunks that give an old text and a new one, and texts that are written anew as a whole.

use std::ops::Range;
use std::sync::Arc;

use super::engine::{Engine, Section, changed_before, edit_event, no_such_file, sentence};
use super::event::PatchEvent;
use super::file::OpenFile;
use crate::diff::{diff, diff_of_lines};
use crate::format::{BlockToken, OwnFences, fence_of};
use crate::hunk::{Agreement, HunkId, HunkText, Miss, MissReason, Missed};
use crate::patch::{FileKind, normalize_path};
use crate::position::{ByteOffset, Utf16Offset};
use crate::search::{Found, Place, carry_over, find, plain};
use crate::streaming_diff::{Replacement, StreamingDiff};
use crate::text_edit::TextEdit;

/// A hunk whose new text is arriving.
#[derive(Debug)]
pub(super) struct Block {
    hunk: HunkId,
    path: Arc<str>,
    /// The old text and whether it is whole lines; `None` where a text is written anew.
    old: Option<(String, bool)>,
    /// The new text so far, as far as it is needed at the end.
    new: String,
    state: State,
    wrote: bool,
    claims: Vec<Range<usize>>,
}

#[derive(Debug)]
enum State {
    /// Its place is known.
    Writing(Box<Rewriting>),
    /// It stands where the text is only alike, which is decided at the end.
    Alike(Range<u32>),
    /// There is no document yet.
    Creating,
    /// It is reported at the end, when its new text is known too.
    Failed(Miss),
    /// It was taken back.
    Reverted,
}

impl Block {
    /// What is said when the end comes in the middle of it.
    pub(super) fn cut(self) -> Option<PatchEvent> {
        let (hunk, path, written) = (self.hunk, self.path, self.wrote);
        (!matches!(self.state, State::Reverted)).then_some(PatchEvent::HunkIncomplete { hunk, path, written })
    }

    /// Whether the new text is needed at the end.
    fn keeps_new_text(&self) -> bool {
        match self.state {
            State::Writing(_) | State::Reverted => false,
            State::Alike(_) | State::Creating => true,
            State::Failed(_) => self.old.is_some(),
        }
    }
}

/// A known place on the way from its old text to the new one.
#[derive(Debug)]
pub(super) struct Rewriting {
    place: Place,
    diff: StreamingDiff,
    /// The line that is arriving.
    partial: String,
    /// Where a text is written anew: the last complete line, since whether its line end belongs to the text
    /// is only known at the end.
    held: Option<String>,
    is_anew: bool,
}

impl Rewriting {
    fn new(place: Place, is_anew: bool) -> Self {
        let diff = StreamingDiff::new(place.old.clone());
        Self { place, diff, partial: String::new(), held: None, is_anew }
    }

    /// Takes a line and returns what it settles.
    fn line(&mut self, file: &OpenFile, line: &str) -> Result<Vec<TextEdit>, Miss> {
        let line = if self.place.is_literal { line.to_owned() } else { plain(line) };
        if self.is_anew && is_elision(&line) && !self.place.old.contains(&line) {
            let message = format!(
                "The new text of `{}` leaves something out: {}. Write it in full, or change only what is \
                 meant to change.",
                file.path,
                crate::locate::quote(line.trim())
            );
            return Err(Miss::new(MissReason::Malformed, message));
        }
        Ok(self.diff.push(&line).map(|step| self.settle(file, &step)).unwrap_or_default())
    }

    /// Whether the old text has code fences that did not come.
    fn misses_fences(&self) -> bool {
        let fences = |lines: &[String]| lines.iter().filter(|line| fence_of(line).is_some()).count();
        let (old, new) = self.diff.rest();
        fences(old) > fences(new)
    }

    /// The edits that replace old lines; lines that are the same on both sides stay as the text has them.
    fn settle(&self, file: &OpenFile, step: &Replacement) -> Vec<TextEdit> {
        let changed = diff_of_lines(&self.place.old[step.old.clone()], &step.new);
        let parts = changed.into_iter().map(|(old, new)| {
            let old = step.old.start + old.start..step.old.start + old.end;
            self.replace(file, &old, &step.new[new])
        });
        parts.flatten().collect()
    }

    /// The smallest edits that replace old lines, all of which differ.
    fn replace(&self, file: &OpenFile, old: &Range<usize>, new_lines: &[String]) -> Vec<TextEdit> {
        let table = &file.table;
        let text = table.text();
        let start = self.place.start_of(old.start);
        let end = if old.is_empty() { start } else { self.place.spans[old.end - 1].end };
        let mut new = String::new();
        if self.place.is_literal {
            new = new_lines.concat();
        } else {
            let usual = table.usual_line_end();
            let shift = self.place.shift_at(table, old.start);
            for line in new_lines {
                let (body, ending) =
                    line.strip_suffix('\n').map_or((line.as_str(), ""), |body| (body, usual));
                new.push_str(&shift.as_ref().map_or_else(|| body.to_owned(), |shift| shift.apply(body)));
                new.push_str(ending);
            }
            // A last line without an end keeps having none, however the model quotes it.
            let is_unfinished = end == text.len() && !table.is_terminated() && !self.is_anew;
            let last = if old.is_empty() { old.start } else { old.end }.checked_sub(1);
            let is_whole = last.is_some_and(|last| self.place.old[last].ends_with('\n'));
            if is_unfinished && is_whole && new.ends_with(usual) {
                new.truncate(new.len() - usual.len());
                if old.is_empty() {
                    new.insert_str(0, usual);
                }
            }
        }
        let edits = diff(&text[start..end], &new).into_edits().into_iter();
        let moved = |edit: TextEdit| {
            TextEdit::new(start + edit.range.start.0..start + edit.range.end.0, edit.replacement)
        };
        edits.map(moved).collect()
    }

    /// The lines a piece of the new text completes.
    fn lines_of(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in text.split_inclusive('\n') {
            self.partial.push_str(piece);
            if self.partial.ends_with('\n') {
                let line = std::mem::take(&mut self.partial);
                if self.is_anew {
                    lines.extend(self.held.replace(line));
                } else {
                    lines.push(line);
                }
            } else if self.is_anew {
                lines.extend(self.held.take());
            }
        }
        lines
    }

    /// The last line, once nothing follows.
    fn last_line(&mut self, base: &str) -> Option<String> {
        let mut last = self.held.take().into_iter().chain(Some(std::mem::take(&mut self.partial)));
        let mut last = last.find(|line| !line.is_empty())?;
        // A text that is written anew ends as it did; answers often have a line end too many or too few.
        if self.is_anew && !base.is_empty() {
            match (base.ends_with('\n'), last.ends_with('\n')) {
                (true, false) => last.push('\n'),
                (false, true) => {
                    last.pop();
                    if last.ends_with('\r') {
                        last.pop();
                    }
                }
                _ => {}
            }
        }
        (!last.is_empty()).then_some(last)
    }
}

impl Engine {
    /// Takes the tokens of a format with old and new texts.
    pub(super) fn block_tokens(&mut self, tokens: Vec<BlockToken>) {
        for token in tokens {
            self.block_token(token);
        }
    }

    fn block_token(&mut self, token: BlockToken) {
        match token {
            BlockToken::Prose(text) => self.events.push(PatchEvent::Prose(text)),
            BlockToken::Replace { path, old, whole_lines } => self.begin_replace(&path, old, whole_lines),
            BlockToken::File { path } => self.begin_file(&path),
            BlockToken::New(text) => self.new_text(&text),
            BlockToken::End { complete: true } => self.end_block(),
            BlockToken::End { complete: false } => {
                self.summary.unclosed = true;
                self.end_section();
            }
            BlockToken::DoubtfulEnd => self.end_doubtful(),
            BlockToken::Malformed { line, message } => {
                self.summary.malformed += 1;
                self.events.push(PatchEvent::Malformed { line, message });
            }
        }
    }

    fn begin_replace(&mut self, path: &str, old: String, whole_lines: bool) {
        self.end_section();
        let hunk = self.next_hunk();
        let (path, state) = match normalize_path(path) {
            Err(error) => {
                let miss = Miss::new(MissReason::PathRefused, sentence(&error));
                (Arc::from(path), State::Failed(miss))
            }
            Ok(normal) => {
                let path: Arc<str> = normal.into();
                let is_there = self.files.get(&path).is_some();
                let kind = if is_there || !old.is_empty() { FileKind::Update } else { FileKind::Add };
                self.events.push(PatchEvent::FileBegan { path: path.clone(), kind });
                let state = self.place_of(hunk, &path, &old, whole_lines);
                (path, state)
            }
        };
        self.open_block(hunk, path, Some((old, whole_lines)), state);
    }

    /// Finds where an old text stands, and says so.
    fn place_of(&mut self, hunk: HunkId, path: &Arc<str>, old: &str, whole_lines: bool) -> State {
        let Some(file) = self.files.get(path) else {
            return if old.is_empty() { State::Creating } else { State::Failed(no_such_file(path)) };
        };
        let found = match find(&file.table, old, whole_lines, path) {
            Ok(found) => found,
            Err(miss) => return State::Failed(miss),
        };
        let (bytes, agreement) = match &found {
            Found::Place(place) => (place.range(), place.agreement),
            Found::Alike(lines) => {
                (file.table.start_of(lines.start)..file.table.start_of(lines.end), Agreement::Fuzzy)
            }
        };
        if file.claims.overlaps(&bytes) {
            return State::Failed(changed_already(file, bytes.start));
        }
        let event = aimed(hunk, file, &bytes, agreement);
        self.events.push(event);
        match found {
            Found::Place(place) => State::Writing(Box::new(Rewriting::new(place, false))),
            Found::Alike(lines) => State::Alike(lines),
        }
    }

    /// Begins a file that is written as a whole.
    fn begin_file(&mut self, path: &str) {
        self.end_section();
        let hunk = self.next_hunk();
        let (path, state) = match normalize_path(path) {
            Err(error) => {
                let miss = Miss::new(MissReason::PathRefused, sentence(&error));
                (Arc::from(path), State::Failed(miss))
            }
            Ok(normal) => {
                let path: Arc<str> = normal.into();
                self.events.push(PatchEvent::FileBegan { path: path.clone(), kind: FileKind::Add });
                let state = match self.files.get(&path) {
                    None => State::Creating,
                    Some(file) if !file.claims.is_empty() => State::Failed(changed_before(&path)),
                    Some(file) => {
                        let place = Place::exact(file.table.text(), &(0..file.table.text().len()), false);
                        State::Writing(Box::new(Rewriting::new(place, true)))
                    }
                };
                (path, state)
            }
        };
        self.open_block(hunk, path, None, state);
    }

    /// Begins a part of a document that is written anew.
    pub(super) fn begin_region(&mut self, path: &str, range: &Range<Utf16Offset>) {
        let hunk = self.next_hunk();
        let path: Arc<str> = path.into();
        let kind = FileKind::Update;
        self.events.push(PatchEvent::FileBegan { path: path.clone(), kind });
        let state = match self.files.get(&path) {
            None => State::Failed(no_such_file(&path)),
            Some(file) => match file.table.index().byte_range(range) {
                None => {
                    let message = format!("The region is outside of `{path}` or inside a character.");
                    State::Failed(Miss::new(MissReason::Malformed, message))
                }
                Some(bytes) => {
                    let bytes = bytes.start.0..bytes.end.0;
                    let event = aimed(hunk, file, &bytes, Agreement::Exact);
                    let place = Place::exact(file.table.text(), &bytes, false);
                    self.events.push(event);
                    State::Writing(Box::new(Rewriting::new(place, true)))
                }
            },
        };
        self.open_block(hunk, path, None, state);
    }

    /// Whether the text that is being written anew begins with a code fence, so that one in the answer says
    /// nothing.
    pub(super) fn starts_fenced(&mut self) -> bool {
        let Section::Block(block) = &self.section else { return false };
        let State::Writing(rewriting) = &block.state else { return false };
        rewriting.place.old.first().is_some_and(|line| line.trim_start().starts_with("```"))
    }

    /// What is known of code fences in the text that is being written anew.
    pub(super) fn rewritten_fences(&self) -> Option<OwnFences> {
        let Section::Block(block) = &self.section else { return None };
        let old = match &block.state {
            State::Writing(rewriting) => &rewriting.place.old[..],
            _ => &[],
        };
        OwnFences::of(&block.path, old.iter().map(String::as_str))
    }

    /// What is known of code fences in the text of a path, as an answer gives it.
    pub(super) fn own_fences(&mut self, path: &str) -> Option<OwnFences> {
        let path = normalize_path(path).ok()?;
        match self.files.get(&path) {
            Some(file) => OwnFences::of(&path, file.table.text().lines()),
            None => OwnFences::of(&path, std::iter::empty()),
        }
    }

    fn open_block(&mut self, hunk: HunkId, path: Arc<str>, old: Option<(String, bool)>, state: State) {
        let claims = Vec::new();
        let block = Block { hunk, path, old, new: String::new(), state, wrote: false, claims };
        self.section = Section::Block(Box::new(block));
    }

    /// Takes a piece of the new text, and writes what it settles.
    fn new_text(&mut self, text: &str) {
        let Section::Block(block) = &mut self.section else { return };
        if block.keeps_new_text() || block.old.is_some() {
            block.new.push_str(text);
        }
        let State::Writing(rewriting) = &mut block.state else { return };
        let lines = rewriting.lines_of(text);
        self.write_lines(&lines);
    }

    fn write_lines(&mut self, lines: &[String]) {
        let Section::Block(block) = &mut self.section else { return };
        let Some(file) = self.files.get(&block.path) else { return };
        for line in lines {
            let State::Writing(rewriting) = &mut block.state else { return };
            let start = rewriting.place.start;
            let written = rewriting.line(file, line).and_then(|edits| unclaimed(file, edits, start));
            match written {
                Ok(edits) => block.write(file, edits, &mut self.events),
                Err(miss) => {
                    self.fail_block(miss);
                    return;
                }
            }
        }
    }

    /// Ends the open hunk at a fence that may also have opened a block in its text.
    ///
    /// Where the rest of the old text has fences that did not come, the answer may have gone on behind this
    /// one, and nothing of the rest may go.
    fn end_doubtful(&mut self) {
        self.end_last_line();
        if let Section::Block(block) = &self.section
            && let State::Writing(rewriting) = &block.state
            && rewriting.misses_fences()
        {
            let message = format!(
                "The new text of `{}` ends at a code fence, and the old text has more of them behind that place. \
                 Write it in full, in a fence of more backticks than any in it.",
                block.path
            );
            self.fail_block(Miss::new(MissReason::Malformed, message));
        }
        self.end_block();
    }

    fn end_last_line(&mut self) {
        if let Section::Block(block) = &mut self.section
            && let State::Writing(rewriting) = &mut block.state
            && let Some(file) = self.files.get(&block.path)
        {
            let base = &file.table.text()[rewriting.place.range()];
            let last: Vec<String> = rewriting.last_line(base).into_iter().collect();
            self.write_lines(&last);
        }
    }

    /// Ends the open hunk: its new text is complete.
    fn end_block(&mut self) {
        self.end_last_line();
        let Section::Block(mut block) = std::mem::replace(&mut self.section, Section::None) else { return };
        let (hunk, path) = (block.hunk, block.path.clone());
        match std::mem::replace(&mut block.state, State::Reverted) {
            State::Reverted => {}
            State::Creating => {
                self.files.add(&path, block.new.as_str().into());
                self.events.push(PatchEvent::AddFile { hunk, path, text: block.new });
            }
            State::Failed(miss) => {
                let text = block.text();
                self.missed(hunk, &path, miss, text);
            }
            State::Alike(lines) => self.end_alike(&block, &lines),
            State::Writing(rewriting) => {
                let Some(file) = self.files.get(&path) else { return };
                let mut rewriting = *rewriting;
                let diff = std::mem::replace(&mut rewriting.diff, StreamingDiff::new(Vec::new()));
                let edits = diff.finish().map(|rest| rewriting.settle(file, &rest)).unwrap_or_default();
                let start = rewriting.place.start;
                match unclaimed(file, edits, start) {
                    Ok(edits) => block.write(file, edits, &mut self.events),
                    Err(miss) => {
                        self.section = Section::Block(block);
                        self.fail_block(miss);
                        self.end_block();
                        return;
                    }
                }
                file.claims.extend(std::mem::take(&mut block.claims), start);
                self.events.push(PatchEvent::HunkDone { hunk });
            }
        }
    }

    /// Ends a hunk at a place that is only alike.
    fn end_alike(&mut self, block: &Block, lines: &Range<u32>) {
        let (hunk, path) = (block.hunk, block.path.clone());
        let Some(file) = self.files.get(&path) else { return };
        let (old, new) = (block.old.as_ref().map_or("", |(old, _)| old), block.new.as_str());
        let Some(script) = carry_over(&file.table, lines, old, new) else {
            let wanted: Vec<&str> = old.lines().collect();
            let miss = crate::search::near_miss(&file.table, &wanted, &path);
            let text = block.text();
            self.missed(hunk, &path, miss, text);
            return;
        };
        let bytes = file.table.start_of(lines.start)..file.table.start_of(lines.end);
        let edits = match unclaimed(file, script.into_edits(), bytes.start) {
            Ok(edits) => edits,
            Err(miss) => {
                let text = block.text();
                self.missed(hunk, &path, miss, text);
                return;
            }
        };
        let start = bytes.start;
        file.claims.extend([bytes], start);
        self.events.extend(edits.into_iter().map(|edit| edit_event(hunk, file, edit)));
        self.events.push(PatchEvent::HunkDone { hunk });
    }

    /// Takes the open hunk back, or keeps its failure until its end where nothing was written.
    fn fail_block(&mut self, miss: Miss) {
        let Section::Block(block) = &mut self.section else { return };
        block.claims.clear();
        if !block.wrote {
            block.state = State::Failed(miss);
            return;
        }
        block.state = State::Reverted;
        let (hunk, path) = (block.hunk, block.path.clone());
        self.summary.missed += 1;
        self.events.push(PatchEvent::HunkReverted(Missed { hunk, path, miss, text: None }));
    }
}

impl Block {
    /// Emits edits that meet nothing an earlier hunk wrote.
    fn write(&mut self, file: &OpenFile, edits: Vec<TextEdit>, events: &mut Vec<PatchEvent>) {
        self.wrote |= !edits.is_empty();
        for edit in edits {
            self.claims.push(edit.range.start.0..edit.range.end.0);
            events.push(edit_event(self.hunk, file, edit));
        }
    }

    /// What it says without its place.
    fn text(&self) -> Option<Arc<HunkText>> {
        let (old, whole_lines) = self.old.clone()?;
        Some(Arc::new(HunkText { old, new: self.new.clone(), whole_lines }))
    }
}

fn aimed(hunk: HunkId, file: &OpenFile, bytes: &Range<usize>, agreement: Agreement) -> PatchEvent {
    let range = ByteOffset(bytes.start)..ByteOffset(bytes.end);
    let range = file.table.index().utf16_range(&range).expect("places lie between characters");
    let (path, base_line) = (file.path.clone(), file.table.line_at(bytes.start) + 1);
    PatchEvent::HunkAimed { hunk, path, base_line, range, agreement }
}

/// Edits of a hunk that starts at a byte, unless one of them meets what an earlier hunk wrote.
fn unclaimed(file: &OpenFile, edits: Vec<TextEdit>, start: usize) -> Result<Vec<TextEdit>, Miss> {
    let met = edits.iter().find(|edit| file.claims.meets(&(edit.range.start.0..edit.range.end.0), start));
    match met {
        Some(edit) => Err(changed_already(file, edit.range.start.0)),
        None => Ok(edits),
    }
}

fn changed_already(file: &OpenFile, at: usize) -> Miss {
    super::writer::overlap(file, file.table.line_at(at))
}

/// Whether a line stands for text that was left out: an ellipsis in a comment that speaks of the rest.
fn is_elision(line: &str) -> bool {
    let text = line.trim();
    let Some(comment) =
        ["//", "#", "--", "/*", "<!--", ";", "%"].iter().find_map(|mark| text.strip_prefix(mark))
    else {
        return false;
    };
    let comment = comment.trim_start_matches(['/', '#', '*', '-', ' ']);
    let Some(said) = comment.strip_prefix("...").or_else(|| comment.strip_prefix('…')) else {
        return false;
    };
    let said = said.to_lowercase();
    ["rest", "existing", "unchanged", "remaining", "same as", "previous"]
        .iter()
        .any(|word| said.contains(word))
}

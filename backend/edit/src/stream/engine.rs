//! The state between a format's tokens and the events of a stream: open files, the section, the hunk.

use std::ops::Range;
use std::sync::Arc;

use super::block::Block;
use super::event::{PatchEvent, Summary};
use super::file::{Files, Lookup, OpenFile};
use super::open_hunk::{OpenHunk, write_whole};
use super::whole::replace_events;
use super::writer::Writer;
use crate::hunk::{Agreement, HunkId, HunkText, Miss, MissReason, Missed};
use crate::locate::{MAX_HEADING_COST, Scope, agreement_at};
use crate::patch::parser::PatchToken;
use crate::patch::{FileKind, LineKind, PatchLine, normalize_path};
use crate::text_edit::TextEdit;

/// Whether hunks may be written before their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Early {
    Allowed,
    Never,
}

/// The section the stream is in.
#[derive(Debug)]
pub(super) enum Section {
    None,
    Update(Box<Update>),
    Add(Add),
    Block(Box<Block>),
}

#[derive(Debug)]
pub(super) struct Update {
    /// The path as given until it is known to be one, then its normal form.
    path: Arc<str>,
    /// Why no hunk of this section can be applied.
    refused: Option<Miss>,
    move_to: Option<String>,
    hunks: u32,
    missed: u32,
    headings: Vec<String>,
    hunk: Option<OpenHunk>,
}

#[derive(Debug)]
pub(super) struct Add {
    hunk: HunkId,
    path: Arc<str>,
    refused: Option<Miss>,
    text: String,
}

/// What a stream knows beside what its format keeps.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) files: Files,
    pub(super) section: Section,
    early: Early,
    /// What looking up headings may still cost.
    heading_budget: usize,
    pub(super) summary: Summary,
    pub(super) events: Vec<PatchEvent>,
}

impl Engine {
    pub(super) fn new(early: Early, lookup: Lookup) -> Self {
        Self {
            files: Files::new(lookup),
            section: Section::None,
            early,
            heading_budget: MAX_HEADING_COST,
            summary: Summary::default(),
            events: Vec::new(),
        }
    }

    /// Everything not handed over yet, and that nothing follows.
    pub(super) fn finished(mut self) -> Vec<PatchEvent> {
        self.events.push(PatchEvent::Finished(self.summary));
        self.events
    }

    /// Takes an interruption: what was not settled is dropped, and the hunks this cuts are named.
    pub(super) fn abort(&mut self) {
        self.summary.unclosed = true;
        match std::mem::replace(&mut self.section, Section::None) {
            Section::None => {}
            Section::Update(update) => {
                let path = update.path;
                if let Some(hunk) = update.hunk
                    && !hunk.failed
                {
                    let written = hunk.wrote;
                    self.events.push(PatchEvent::HunkIncomplete {
                        hunk: hunk.id,
                        path: path.clone(),
                        written,
                    });
                }
                if update.move_to.is_some() {
                    let hunk = self.next_hunk();
                    self.events.push(PatchEvent::HunkIncomplete { hunk, path, written: false });
                }
            }
            Section::Add(add) => {
                let Add { hunk, path, .. } = add;
                self.events.push(PatchEvent::HunkIncomplete { hunk, path, written: false });
            }
            Section::Block(block) => self.events.extend(block.cut()),
        }
    }

    /// Takes the tokens of a patch.
    pub(super) fn tokens(&mut self, tokens: Vec<PatchToken>) {
        for token in tokens {
            self.token(token);
        }
    }

    fn token(&mut self, token: PatchToken) {
        match token {
            PatchToken::Prose(text) => self.events.push(PatchEvent::Prose(text)),
            PatchToken::Began => self.summary.patches += 1,
            PatchToken::Update { path, move_to } => self.begin_update(&path, move_to),
            PatchToken::Add { path } => self.begin_add(&path),
            PatchToken::Delete { path } => self.delete(&path),
            PatchToken::Heading(text) => {
                self.end_hunk(false);
                if let Section::Update(update) = &mut self.section {
                    update.headings.push(text);
                }
            }
            PatchToken::Line(line) => self.line(line),
            PatchToken::EndOfFile => self.end_hunk(true),
            PatchToken::Malformed { line, message } => {
                self.summary.malformed += 1;
                if let Section::Add(add) = &mut self.section {
                    let message = format!("Line {line} of the answer is not part of a patch: {message}.");
                    add.refused.get_or_insert(Miss::new(MissReason::Malformed, message));
                }
                self.events.push(PatchEvent::Malformed { line, message });
            }
            PatchToken::Ended { marked } => {
                self.end_section();
                self.summary.unclosed |= !marked;
            }
        }
    }

    fn begin_update(&mut self, path: &str, move_to: Option<String>) {
        self.end_section();
        let (path, refused) = match normalize_path(path) {
            Err(error) => (Arc::from(path), Some(Miss::new(MissReason::PathRefused, sentence(&error)))),
            Ok(path) => {
                let path: Arc<str> = path.into();
                let kind = if move_to.is_some() { FileKind::Move } else { FileKind::Update };
                self.events.push(PatchEvent::FileBegan { path: path.clone(), kind });
                let refused = match self.files.get(&path) {
                    Some(file) => {
                        file.cursor = 0;
                        None
                    }
                    None => Some(no_such_file(&path)),
                };
                (path, refused)
            }
        };
        self.section = Section::Update(Box::new(Update {
            path,
            refused,
            move_to,
            hunks: 0,
            missed: 0,
            headings: Vec::new(),
            hunk: None,
        }));
    }

    fn begin_add(&mut self, path: &str) {
        self.end_section();
        let hunk = self.next_hunk();
        let (path, refused) = match normalize_path(path) {
            Err(error) => (Arc::from(path), Some(Miss::new(MissReason::PathRefused, sentence(&error)))),
            Ok(path) => {
                let path: Arc<str> = path.into();
                self.events.push(PatchEvent::FileBegan { path: path.clone(), kind: FileKind::Add });
                (path, None)
            }
        };
        self.section = Section::Add(Add { hunk, path, refused, text: String::new() });
    }

    fn delete(&mut self, path: &str) {
        self.end_section();
        let hunk = self.next_hunk();
        let normal: Arc<str> = match normalize_path(path) {
            Err(error) => {
                let miss = Miss::new(MissReason::PathRefused, sentence(&error));
                self.missed(hunk, &Arc::from(path), miss, None);
                return;
            }
            Ok(path) => path.into(),
        };
        self.events.push(PatchEvent::FileBegan { path: normal.clone(), kind: FileKind::Delete });
        if self.files.get(&normal).is_none() {
            self.missed(hunk, &normal, no_such_file(&normal), None);
            return;
        }
        self.files.remove(&normal);
        self.events.push(PatchEvent::DeleteFile { hunk, path: normal });
    }

    fn line(&mut self, line: PatchLine) {
        match &mut self.section {
            Section::None | Section::Block(_) => {}
            Section::Add(add) => {
                add.text.push_str(&line.text);
                add.text.push('\n');
            }
            Section::Update(update) => {
                if update.hunk.is_none() {
                    let table = match update.refused {
                        None => self.files.get(&update.path).map(|file| file.table.clone()),
                        Some(_) => None,
                    };
                    let headings = std::mem::take(&mut update.headings);
                    let budget = &mut self.heading_budget;
                    let scope =
                        table.map_or_else(Scope::default, |table| Scope::new(&table, &headings, budget));
                    let id = HunkId(self.summary.hunks);
                    self.summary.hunks += 1;
                    update.hunks += 1;
                    update.hunk = Some(OpenHunk::new(id, scope));
                }
                self.hunk_line(line);
            }
        }
    }

    /// Takes a line of the open hunk, and writes what it settles.
    fn hunk_line(&mut self, line: PatchLine) {
        let Section::Update(update) = &mut self.section else { return };
        let Some(hunk) = &mut update.hunk else { return };
        if hunk.failed {
            return;
        }
        let Some(file) = (if update.refused.is_none() { self.files.get(&update.path) } else { None }) else {
            // Reported once the hunk ends.
            return;
        };
        let mut edits = Vec::new();
        let mut result = Ok(());
        if let Some(writer) = &mut hunk.writer {
            result = writer.line(file, &line, &mut edits);
        } else if line.kind == LineKind::Added {
            if !std::mem::replace(&mut hunk.has_added, true) {
                hunk.early = hunk.early_place(file);
                if self.early == Early::Allowed
                    && let Some(place) = hunk.early
                {
                    let mut writer = Writer::new(place, hunk.shift(file, place));
                    result = hunk
                        .lines
                        .iter()
                        .chain([&line])
                        .try_for_each(|earlier| writer.line(file, earlier, &mut edits));
                    hunk.writer = Some(writer);
                }
            }
        } else {
            hunk.matcher.push(&file.table, &line.text);
            if self.early == Early::Allowed
                && !hunk.aimed
                && let Some(place) = hunk.matcher.settled_place(&hunk.scope)
            {
                hunk.aimed = true;
                let old: Vec<&str> =
                    hunk.lines.iter().chain([&line]).map(|line| line.text.as_str()).collect();
                let agreement = agreement_at(&file.table, &old, place).unwrap_or(Agreement::Folded);
                self.events.push(aimed(hunk.id, file, place..place + hunk.matcher.count(), agreement));
            }
        }
        if hunk.writer.is_none() {
            hunk.lines.push(line);
        }
        if let Err(miss) = result {
            self.fail_hunk(miss);
            return;
        }
        hunk.wrote |= !edits.is_empty();
        let id = hunk.id;
        self.events.extend(edits.into_iter().map(|edit| edit_event(id, file, edit)));
    }

    /// Ends the open hunk, locating it now if its place was not settled before.
    fn end_hunk(&mut self, at_end: bool) {
        let Section::Update(update) = &mut self.section else { return };
        let Some(mut hunk) = update.hunk.take() else {
            if at_end {
                self.headings_without_lines();
            }
            return;
        };
        if hunk.failed {
            return;
        }
        let file = if update.refused.is_none() { self.files.get(&update.path) } else { None };
        let Some(file) = file else {
            let miss = update.refused.clone().unwrap_or_else(|| no_such_file(&update.path));
            update.hunk = Some(hunk);
            self.fail_hunk(miss);
            self.close_failed();
            return;
        };
        let mut edits = Vec::new();
        let mut place = None;
        // Of a hunk that was written early not all lines are kept, and its place was settled; what headings and
        // the end of the file say about the place is not in its lines.
        let is_whole = hunk.writer.is_none() && !at_end && !hunk.scope.names_lines;
        let result = match hunk.writer.take() {
            Some(writer) => writer.finish(file, at_end, &mut edits),
            None => write_whole(&hunk, file, at_end, &mut edits).map(|(found, agreement, written)| {
                place = Some((found, agreement));
                written
            }),
        };
        match result {
            Ok(written) => {
                if let Some((place, agreement)) = place
                    && !hunk.aimed
                {
                    self.events.push(aimed(hunk.id, file, place, agreement));
                }
                file.keep(written);
                let id = hunk.id;
                self.events.extend(edits.into_iter().map(|edit| edit_event(id, file, edit)));
                self.events.push(PatchEvent::HunkDone { hunk: id });
            }
            Err(miss) => {
                hunk.is_whole = is_whole;
                update.hunk = Some(hunk);
                self.fail_hunk(miss);
                self.close_failed();
            }
        }
    }

    /// Reports the failure of the open hunk and skips the rest of it.
    fn fail_hunk(&mut self, miss: Miss) {
        let Section::Update(update) = &mut self.section else { return };
        let Some(hunk) = &mut update.hunk else { return };
        update.missed += 1;
        self.summary.missed += 1;
        hunk.failed = true;
        hunk.writer = None;
        let text = (hunk.is_whole && !hunk.lines.is_empty()).then(|| Arc::new(hunk.text()));
        hunk.lines = Vec::new();
        let missed = Missed { hunk: hunk.id, path: update.path.clone(), miss, text };
        self.events.push(if hunk.wrote {
            PatchEvent::HunkReverted(missed)
        } else {
            PatchEvent::HunkMissed(missed)
        });
    }

    fn close_failed(&mut self) {
        if let Section::Update(update) = &mut self.section {
            update.hunk = None;
        }
    }

    /// Reports headings that no line followed.
    fn headings_without_lines(&mut self) {
        let Section::Update(update) = &mut self.section else { return };
        if update.headings.is_empty() {
            return;
        }
        update.headings.clear();
        update.hunks += 1;
        update.missed += 1;
        let path = update.path.clone();
        let hunk = self.next_hunk();
        self.missed(hunk, &path, Miss::new(MissReason::Malformed, "The hunk has no lines."), None);
    }

    pub(super) fn end_section(&mut self) {
        self.end_hunk(false);
        self.headings_without_lines();
        match std::mem::replace(&mut self.section, Section::None) {
            Section::None => {}
            Section::Add(add) => self.end_add(add),
            Section::Update(update) => self.end_update(*update),
            Section::Block(block) => self.events.extend(block.cut()),
        }
    }

    fn end_update(&mut self, update: Update) {
        let Update { path, refused, move_to, hunks, missed, .. } = update;
        let Some(move_to) = move_to else {
            if hunks == 0 {
                let hunk = self.next_hunk();
                let nothing = || Miss::new(MissReason::Malformed, "The section has no hunks.");
                self.missed(hunk, &path, refused.unwrap_or_else(nothing), None);
            }
            return;
        };
        let hunk = self.next_hunk();
        let result = match (refused, normalize_path(&move_to)) {
            (Some(miss), _) => Err(miss),
            (None, Err(error)) => Err(Miss::new(MissReason::PathRefused, sentence(&error))),
            (None, Ok(_)) if missed > 0 => Err(Miss::new(
                MissReason::SectionIncomplete,
                format!("`{path}` was not moved, because a hunk of its section was missed."),
            )),
            (None, Ok(to)) if *to != *path && self.files.get(&to).is_some() => {
                Err(Miss::new(MissReason::PathTaken, format!("There is already a document `{to}`.")))
            }
            (None, Ok(to)) => Ok(to),
        };
        match result {
            Err(miss) => self.missed(hunk, &path, miss, None),
            Ok(to) if *to == *path => self.events.push(PatchEvent::HunkDone { hunk }),
            Ok(to) => {
                self.files.rename(&path, &to);
                self.events.push(PatchEvent::MoveFile { hunk, from: path, to: to.into() });
            }
        }
    }

    /// Writes the file of a section; one that exists is changed by the smallest edits.
    fn end_add(&mut self, add: Add) {
        let Add { hunk, path, refused, text } = add;
        if let Some(miss) = refused {
            self.missed(hunk, &path, miss, None);
            return;
        }
        let Some(file) = self.files.get(&path) else {
            self.files.add(&path, text.as_str().into());
            self.events.push(PatchEvent::AddFile { hunk, path, text });
            return;
        };
        if !file.claims.is_empty() {
            self.missed(hunk, &path, changed_before(&path), None);
            return;
        }
        file.claims.extend(std::iter::once(0..file.table.text().len()), 0);
        file.terminated = true;
        self.events.extend(replace_events(hunk, file, &text));
    }

    pub(super) fn next_hunk(&mut self) -> HunkId {
        let hunk = HunkId(self.summary.hunks);
        self.summary.hunks += 1;
        hunk
    }

    /// Reports something that was not done and wrote nothing.
    pub(super) fn missed(&mut self, hunk: HunkId, path: &Arc<str>, miss: Miss, text: Option<Arc<HunkText>>) {
        self.summary.missed += 1;
        self.events.push(PatchEvent::HunkMissed(Missed { hunk, path: path.clone(), miss, text }));
    }
}

fn aimed(hunk: HunkId, file: &OpenFile, lines: Range<u32>, agreement: Agreement) -> PatchEvent {
    let range = file.table.utf16_start_of(lines.start)..file.table.utf16_start_of(lines.end);
    PatchEvent::HunkAimed { hunk, path: file.path.clone(), base_line: lines.start + 1, range, agreement }
}

pub(super) fn changed_before(path: &str) -> Miss {
    let message = format!("`{path}` was already changed by an earlier hunk of this answer.");
    Miss::new(MissReason::Overlap, message)
}

pub(super) fn edit_event(hunk: HunkId, file: &OpenFile, edit: TextEdit) -> PatchEvent {
    let delete = file.table.index().utf16_range(&edit.range).expect("edits lie between characters");
    let insert_at = delete.start;
    PatchEvent::Edit { hunk, path: file.path.clone(), delete, insert_at, insert: edit.replacement }
}

pub(super) fn no_such_file(path: &str) -> Miss {
    Miss::new(MissReason::NoSuchFile, format!("There is no document `{path}`."))
}

/// An error as a sentence of its own.
pub(super) fn sentence(error: &crate::patch::PathRefused) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => text,
    }
}

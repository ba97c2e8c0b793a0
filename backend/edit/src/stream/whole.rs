//! Texts that settle as a whole: a file written anew, and everything in Codex mode.

use std::sync::Arc;

use super::PatchEvent;
use super::engine::{Engine, edit_event};
use super::file::OpenFile;
use crate::diff::diff;
use crate::hunk::{Agreement, HunkId};
use crate::patch::{FileKind, codex, normalize_path};

impl Engine {
    /// Does everything at once, as the Codex command line tool does.
    pub(super) fn finish_codex(&mut self, whole: &str) {
        let sections = match codex::parse(whole) {
            Ok(sections) => sections,
            Err(error) => {
                self.summary.malformed += 1;
                self.events.push(PatchEvent::Malformed { line: error.line, message: error.message });
                return;
            }
        };
        self.summary.patches = 1;
        let mut before = codex::Files::new();
        for path in sections.iter().flat_map(codex::Section::paths) {
            if let Ok(path) = normalize_path(path)
                && let Some(file) = self.files.get(&path)
            {
                before.insert(path, file.table.text().to_owned());
            }
        }
        let mut after = before.clone();
        let failure = codex::apply(&sections, &mut after).err();
        for (path, text) in &before {
            let hunk = HunkId(self.summary.hunks);
            match after.get(path) {
                Some(changed) if changed == text => continue,
                Some(changed) => {
                    let Some(file) = self.files.get(path) else { continue };
                    let kind = FileKind::Update;
                    self.events.push(PatchEvent::FileBegan { path: file.path.clone(), kind });
                    self.events.extend(replace_events(hunk, file, changed));
                }
                None => {
                    let path: Arc<str> = path.as_str().into();
                    self.events.push(PatchEvent::FileBegan { path: path.clone(), kind: FileKind::Delete });
                    self.events.push(PatchEvent::DeleteFile { hunk, path });
                }
            }
            self.summary.hunks += 1;
        }
        for (path, text) in after.into_iter().filter(|(path, _)| !before.contains_key(path)) {
            let hunk = self.next_hunk();
            let path: Arc<str> = path.into();
            self.events.push(PatchEvent::FileBegan { path: path.clone(), kind: FileKind::Add });
            self.events.push(PatchEvent::AddFile { hunk, path, text });
        }
        if let Some(failure) = failure {
            let hunk = self.next_hunk();
            self.missed(hunk, &failure.path.into(), failure.miss, None);
        }
    }
}

/// The events of one hunk that gives a file another text.
pub(super) fn replace_events(hunk: HunkId, file: &OpenFile, text: &str) -> Vec<PatchEvent> {
    let edits = diff(file.table.text(), text).into_edits();
    let mut events = Vec::with_capacity(edits.len() + 2);
    if let (Some(first), Some(last)) = (edits.first(), edits.last()) {
        let index = file.table.index();
        let range = index
            .utf16_range(&(first.range.start..last.range.end))
            .expect("edits are in order and lie between characters");
        let base_line = index.line_column_of(range.start).map_or(1, |at| at.line + 1);
        let (path, agreement) = (file.path.clone(), Agreement::Exact);
        events.push(PatchEvent::HunkAimed { hunk, path, base_line, range, agreement });
    }
    events.extend(edits.into_iter().map(|edit| edit_event(hunk, file, edit)));
    events.push(PatchEvent::HunkDone { hunk });
    events
}

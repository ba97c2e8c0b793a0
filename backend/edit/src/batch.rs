//! A whole answer over a set of files.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::Format;
use crate::hunk::Missed;
use crate::patch::Mode;
use crate::replay::PatchedFiles;
use crate::stream::{Early, EditStream, PatchEvent};

/// What an answer made of a set of files.
#[derive(Clone, Debug)]
pub struct PatchOutcome {
    /// All files afterwards, by path.
    pub files: BTreeMap<String, String>,
    /// Everything that happened, in order; positions are those of the files before.
    pub events: Vec<PatchEvent>,
    /// Hunks that were not applied.
    pub missed: Vec<Missed>,
    /// Lines that are not part of a patch: their numbers, counted from 1, and what is wrong with them.
    pub malformed: Vec<(u32, String)>,
}

impl PatchOutcome {
    /// Whether everything the patch says was done, and it said something.
    ///
    /// For a caller that applies everything or nothing.
    pub fn is_complete(&self) -> bool {
        let did_something = self.events.iter().any(|event| matches!(event, PatchEvent::FileBegan { .. }));
        did_something && self.missed.is_empty() && self.malformed.is_empty()
    }
}

/// Applies a patch to files given by their paths in normal form.
///
/// In [`Mode::Unique`] hunks that are missed leave the others standing. In [`Mode::Codex`] the result is
/// that of the Codex command line tool: a mistake in form changes nothing, a missed hunk leaves its file
/// and all later ones alone.
pub fn apply_patch(files: &BTreeMap<String, String>, patch: &str, mode: Mode) -> PatchOutcome {
    apply_answer(files, Format::Patch(mode), patch)
}

/// Applies an answer in any format to files given by their paths in normal form.
pub fn apply_answer(files: &BTreeMap<String, String>, format: Format, answer: &str) -> PatchOutcome {
    let texts: BTreeMap<String, Arc<str>> =
        files.iter().map(|(path, text)| (path.clone(), Arc::from(text.as_str()))).collect();
    let lookup = move |path: &str| texts.get(path).cloned();
    let mut stream = EditStream::with_early(format, Early::Never, Box::new(lookup));
    let mut events = stream.push(answer);
    events.extend(stream.finish());

    let mut patched = PatchedFiles::new(files);
    let mut missed = Vec::new();
    let mut malformed = Vec::new();
    for event in &events {
        patched.apply(event).expect("the stream worked on the same files");
        match event {
            PatchEvent::HunkMissed(miss) | PatchEvent::HunkReverted(miss) => missed.push(miss.clone()),
            PatchEvent::Malformed { line, message } => malformed.push((*line, message.clone())),
            _ => {}
        }
    }
    PatchOutcome { files: patched.texts(), events, missed, malformed }
}

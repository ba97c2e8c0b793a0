//! What edits from outside will do, before anything is done.

use std::collections::{BTreeMap, BTreeSet};

use ensemble_edit::{Missed, Mode, normalize_path};
use ensemble_protocol::id::{DocumentId, HunkId, TurnId, Version};
use ensemble_protocol::limits;
use ensemble_protocol::rest::TextReplacement;
use ensemble_sync::anchor::Anchor;
use ensemble_sync::past::text_at;
use ensemble_sync::registry::RoomRegistry;
use ensemble_sync::room::AnchoredEdit;

use super::place::{KnownText, Placed, PlacedFile, PlacedPatch, named, place_patch, place_replacements};
use super::{FailedHunk, OutsideError};
use crate::context::read_room;
use crate::error::AgentError;
use crate::policy::Entry;

/// What edits from outside will do.
#[derive(Debug, Clone)]
pub struct OutsidePlan {
    /// The turn that will stand for them.
    pub(crate) turn: TurnId,
    /// The documents whose texts change.
    pub(crate) files: Vec<FilePlan>,
    /// What happens to documents as a whole, in order.
    pub(crate) steps: Vec<FileStep>,
    /// What is not done and does not keep the rest from being done.
    pub(crate) missed: Vec<FailedHunk>,
    /// The documents at the paths it is about, as they were when it was made; `None` where there was none.
    meant: BTreeMap<String, Option<DocumentId>>,
}

/// Edits of one document.
#[derive(Debug, Clone)]
pub(crate) struct FilePlan {
    pub(crate) document: DocumentId,
    pub(crate) path: String,
    /// The version it was at when its text was read.
    pub(crate) version: Version,
    pub(crate) edits: Vec<AnchoredEdit>,
    /// For each edit, where what it replaces begins.
    pub(crate) starts: Vec<Anchor>,
    /// Its hunks, those that change nothing included.
    pub(crate) hunks: BTreeSet<HunkId>,
}

/// Something that happens to a document as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStep {
    /// It is made.
    Add {
        /// The hunk that says so.
        hunk: HunkId,
        /// Where.
        path: String,
        /// What it starts with.
        text: String,
    },
    /// It goes.
    Delete {
        /// The hunk that says so.
        hunk: HunkId,
        /// The document.
        document: DocumentId,
        /// Where it was.
        path: String,
    },
    /// It gets another path.
    Move {
        /// The hunk that says so.
        hunk: HunkId,
        /// The document.
        document: DocumentId,
        /// Where it was.
        from: String,
        /// Where it will be.
        to: String,
    },
}

impl OutsidePlan {
    /// The turn that will stand for the edits.
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// What happens to documents as a whole, in order.
    pub fn steps(&self) -> &[FileStep] {
        &self.steps
    }

    /// Whether the paths it is about are still those of the same documents. Those of replacements always are:
    /// they mean a document by its id.
    pub fn still_means(&self, entries: &[Entry]) -> bool {
        self.meant.iter().all(|(path, document)| document_at(entries, path) == *document)
    }
}

fn document_at(entries: &[Entry], path: &str) -> Option<DocumentId> {
    entries.iter().find(|entry| entry.path == path).map(|entry| entry.id)
}

/// Finds the places of replacements in one document.
pub(crate) async fn plan_replacements(
    rooms: &RoomRegistry,
    turn: TurnId,
    entry: Entry,
    base_version: Option<&str>,
    edits: Vec<TextReplacement>,
) -> Result<OutsidePlan, OutsideError> {
    if edits.is_empty() {
        return Err(OutsideError::BadRequest("there are no edits".into()));
    }
    if edits.len() > limits::EDITS_PER_REQUEST {
        let most = limits::EDITS_PER_REQUEST;
        return Err(OutsideError::TooLarge(format!("a request has at most {most} edits")));
    }
    let known = read(rooms, &entry, base_version).await?;
    let hunks = (1..).map(HunkId).take(edits.len()).collect();
    let (path, text) = (entry.path.clone(), known.clone());
    // Looking for places takes a while in large texts; others go on.
    let placed = tokio::task::spawn_blocking(move || place_replacements(&path, &text, &edits));
    let placed = placed.await.map_err(|_| AgentError::Stopping)?.map_err(|failed| {
        let failed = failed.into_iter().map(|(hunk, miss)| FailedHunk {
            hunk,
            path: entry.path.clone(),
            document: Some(entry.id),
            miss,
        });
        OutsideError::Failed(failed.collect())
    })?;
    let file = file_plan(&entry.path, &known, &placed, hunks);
    let (steps, missed, meant) = (Vec::new(), Vec::new(), BTreeMap::new());
    Ok(OutsidePlan { turn, files: vec![file], steps, missed, meant })
}

/// Finds the places of a patch in a project's documents.
pub(crate) async fn plan_patch(
    rooms: &RoomRegistry,
    turn: TurnId,
    entries: &[Entry],
    patch: String,
    base_versions: &BTreeMap<String, String>,
    mode: Mode,
) -> Result<OutsidePlan, OutsideError> {
    let names = named(&patch);
    if names.paths.len() > limits::PATCH_FILES {
        let most = limits::PATCH_FILES;
        return Err(OutsideError::TooLarge(format!("a patch is about at most {most} files")));
    }
    if names.hunks > limits::PATCH_HUNKS {
        let most = limits::PATCH_HUNKS;
        return Err(OutsideError::TooLarge(format!("a patch has at most {most} hunks")));
    }
    let meant = names.paths.iter().map(|path| (path.clone(), document_at(entries, path))).collect();
    let versions: BTreeMap<String, &str> = base_versions
        .iter()
        .map(|(path, version)| (normalize_path(path).unwrap_or_else(|_| path.clone()), version.as_str()))
        .collect();
    let mut texts = BTreeMap::new();
    let mut bytes = 0;
    for path in &names.paths {
        let base = versions.get(path).copied();
        match entries.iter().find(|entry| entry.path == *path) {
            Some(entry) => {
                let known = read(rooms, entry, base).await?;
                bytes += known.bytes();
                if bytes > limits::PATCH_TEXT_BYTES {
                    let most = limits::PATCH_TEXT_BYTES;
                    return Err(OutsideError::TooLarge(format!(
                        "the documents of a patch have at most {most} bytes together"
                    )));
                }
                texts.insert(path.clone(), known);
            }
            None if base.is_some() => {
                return Err(OutsideError::BadRequest(format!(
                    "`base_versions` names `{path}`, and there is no such document"
                )));
            }
            None => {}
        }
    }
    let known = texts.clone();
    let placed = tokio::task::spawn_blocking(move || place_patch(&known, &patch, mode, &names));
    let placed = placed.await.map_err(|_| AgentError::Stopping)?.map_err(OutsideError::BadRequest)?;
    let PlacedPatch { edits, hunks, files, missed } = placed;
    let missed: Vec<FailedHunk> = missed.into_iter().map(|missed| failed(missed, &texts)).collect();
    let nothing_done = edits.is_empty() && files.is_empty();
    if !missed.is_empty() && (mode == Mode::Unique || nothing_done) {
        return Err(OutsideError::Failed(missed));
    }
    let mut steps = Vec::with_capacity(files.len());
    // Documents by the path they have while the steps are done, one after the other.
    let mut at: BTreeMap<String, DocumentId> =
        texts.iter().map(|(path, known)| (path.clone(), known.document)).collect();
    for file in files {
        let gone =
            |path: &str| OutsideError::BadRequest(format!("the patch has no `{path}` to work on there"));
        match file {
            PlacedFile::Add { hunk, path, text } => steps.push(FileStep::Add { hunk, path, text }),
            PlacedFile::Delete { hunk, path } => {
                let document = at.remove(&path).ok_or_else(|| gone(&path))?;
                steps.push(FileStep::Delete { hunk, document, path });
            }
            PlacedFile::Move { hunk, from, to } => {
                let document = at.remove(&from).ok_or_else(|| gone(&from))?;
                at.insert(to.clone(), document);
                steps.push(FileStep::Move { hunk, document, from, to });
            }
        }
    }
    let deleted = |document: DocumentId| {
        steps.iter().any(|step| matches!(step, FileStep::Delete { document: gone, .. } if *gone == document))
    };
    let files = hunks
        .into_iter()
        .filter_map(|(path, hunks)| Some((texts.get(&path)?, path, hunks)))
        .filter(|(known, ..)| !deleted(known.document))
        .map(|(known, path, hunks)| {
            file_plan(&path, known, edits.get(&path).map_or(&[][..], Vec::as_slice), hunks)
        })
        .collect();
    Ok(OutsidePlan { turn, files, steps, missed, meant })
}

fn file_plan(path: &str, known: &KnownText, placed: &[Placed], hunks: BTreeSet<HunkId>) -> FilePlan {
    let (edits, starts) = placed.iter().map(|edit| edit.anchored(known)).unzip();
    FilePlan {
        document: known.document,
        path: path.to_owned(),
        version: known.now.version,
        edits,
        starts,
        hunks,
    }
}

fn failed(missed: Missed, texts: &BTreeMap<String, KnownText>) -> FailedHunk {
    let path = missed.path.to_string();
    let document = texts.get(&path).map(|known| known.document);
    FailedHunk { hunk: HunkId(missed.hunk.0 + 1), path, document, miss: missed.miss }
}

/// A document's text of now, and of the version somebody knew.
async fn read(rooms: &RoomRegistry, entry: &Entry, version: Option<&str>) -> Result<KnownText, OutsideError> {
    let (_, now) = read_room(rooms, entry.id).await.map_err(AgentError::from)?;
    let mut known = KnownText { document: entry.id, base: None, now };
    let Some(given) = version else { return Ok(known) };
    let unknown = || OutsideError::VersionUnknown {
        path: entry.path.clone(),
        given: given.to_owned(),
        current: known.now.version,
    };
    let version: Version = given.parse().map_err(|_| unknown())?;
    if version == known.now.version {
        return Ok(known);
    }
    let base = text_at(rooms, entry.id, version).await.map_err(AgentError::from)?;
    known.base = Some(base.ok_or_else(unknown)?);
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_means_the_documents_that_stood_at_its_paths() {
        let document = |byte: u8| DocumentId::from_slice(&[byte; 16]).expect("sixteen bytes");
        let entry = |byte: u8, path: &str| Entry { id: document(byte), path: path.to_owned() };
        let plan = OutsidePlan {
            turn: TurnId::from_slice(&[9; 16]).expect("sixteen bytes"),
            files: Vec::new(),
            steps: Vec::new(),
            missed: Vec::new(),
            meant: BTreeMap::from([("a".to_owned(), Some(document(1))), ("new".to_owned(), None)]),
        };
        assert!(plan.still_means(&[entry(1, "a"), entry(2, "b")]));
        assert!(plan.still_means(&[entry(1, "a"), entry(2, "c"), entry(3, "d")]));
        // Another document came to the path, none is left there, or the new path was taken.
        assert!(!plan.still_means(&[entry(2, "a"), entry(1, "b")]));
        assert!(!plan.still_means(&[entry(1, "b")]));
        assert!(!plan.still_means(&[entry(1, "a"), entry(2, "new")]));
    }
}

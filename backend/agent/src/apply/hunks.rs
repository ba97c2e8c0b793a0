//! What became of each hunk of a turn.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ensemble_protocol::id::{DocumentId, HunkId, TurnId};
use ensemble_protocol::rest::HunkState;
use ensemble_store::HunkRecord;

/// The records of a turn's hunks, and which of them the replica does not know yet.
#[derive(Debug)]
pub(crate) struct Hunks {
    turn: TurnId,
    records: BTreeMap<HunkId, HunkRecord>,
    dirty: BTreeSet<HunkId>,
    /// Why a hunk is being taken back, until it is.
    contradicted: HashMap<HunkId, String>,
}

impl Hunks {
    pub(crate) fn new(turn: TurnId) -> Self {
        Self { turn, records: BTreeMap::new(), dirty: BTreeSet::new(), contradicted: HashMap::new() }
    }

    /// The record of a hunk, or a new one.
    pub(crate) fn record(&self, hunk: HunkId, document: Option<DocumentId>, path: &str) -> HunkRecord {
        self.records.get(&hunk).cloned().unwrap_or_else(|| HunkRecord {
            turn: self.turn,
            hunk,
            document,
            path: path.to_owned(),
            state: HunkState::Applied,
            anchor: None,
            head: None,
            inserted: 0,
            deleted: 0,
            line: None,
            reason: None,
        })
    }

    /// Whether anything is known of a hunk.
    pub(crate) fn contains(&self, hunk: HunkId) -> bool {
        self.records.contains_key(&hunk)
    }

    /// Keeps a record.
    pub(crate) fn put(&mut self, record: HunkRecord) {
        self.dirty.insert(record.hunk);
        self.records.insert(record.hunk, record);
    }

    /// Records that a hunk was not applied. What was said of it first stays.
    pub(crate) fn missed(&mut self, hunk: HunkId, document: Option<DocumentId>, path: &str, reason: &str) {
        if !self.contains(hunk) {
            let record = self.record(hunk, document, path);
            self.put(HunkRecord { state: HunkState::Missed, reason: Some(reason.to_owned()), ..record });
        }
    }

    /// Adds a remark to a hunk that was applied, if at least in part.
    pub(crate) fn remark(&mut self, hunk: HunkId, remark: &str) {
        if let Some(record) = self.records.get(&hunk).cloned() {
            self.put(HunkRecord { reason: Some(remark.to_owned()), ..record });
        }
    }

    /// What is said of a hunk.
    pub(crate) fn reason(&self, hunk: HunkId) -> Option<String> {
        self.records.get(&hunk)?.reason.clone()
    }

    /// Notes why a hunk is about to be taken back.
    pub(crate) fn contradict(&mut self, hunk: HunkId, reason: String) {
        self.contradicted.insert(hunk, reason);
    }

    /// The record of a hunk once it is taken back.
    pub(crate) fn reverted(&self, hunk: HunkId, document: DocumentId, path: &str) -> HunkRecord {
        HunkRecord {
            state: HunkState::Reverted,
            anchor: None,
            head: None,
            inserted: 0,
            deleted: 0,
            reason: self.contradicted.get(&hunk).cloned(),
            ..self.record(hunk, Some(document), path)
        }
    }

    /// Takes the records the replica does not know yet, at most so many.
    pub(crate) fn take_dirty(&mut self, most: usize) -> Vec<HunkRecord> {
        let taken: Vec<HunkId> = self.dirty.iter().copied().take(most).collect();
        for hunk in &taken {
            self.dirty.remove(hunk);
        }
        taken.iter().filter_map(|hunk| self.records.get(hunk).cloned()).collect()
    }

    /// Marks records again that could not be told.
    pub(crate) fn untold(&mut self, hunks: impl IntoIterator<Item = HunkId>) {
        self.dirty.extend(hunks);
    }

    /// Whether the replica lacks a record.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }
}

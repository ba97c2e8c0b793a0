//! A live document: the only file that opens yrs transactions.
//!
//! A [`TextDocument`] is a yrs document beside the [`Index`] of the same history; everything that reaches either
//! was admitted first, so applying cannot fail and the two cannot differ. A [`ReplicaDocument`] holds maps that
//! only the server writes: its edits are made in a draft, and enter the live document after their commit.

use std::sync::Arc;

use bytes::Bytes;
use ensemble_protocol::limits;
use ensemble_store::Hash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use yrs::types::ToJson as _;
use yrs::updates::decoder::Decode as _;
use yrs::{
    Any, ClientID, Doc, GetString as _, Map as _, MapPrelim, MapRef, OffsetKind, Options, Out, ReadTxn as _,
    StateVector, Text as _, TextPrelim, TextRef, Transact as _, TransactionMut, Update as YrsUpdate,
    WriteTxn as _,
};

use crate::admission::{Admitted, Refusal, Verdict, admit_stored};
use crate::anchor::CONTENT;
use crate::index::{Index, Stretch};
use crate::room::ReplicaEdit;
use crate::update::{Content, Update};

/// Stored bytes that do not give a document: a fault of ours or of the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored update {seq} does not apply: {detail}")]
pub struct Unreadable {
    /// Its number; 0 for a snapshot.
    pub seq: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// The one place where documents are made, so that offsets are UTF-16 units everywhere.
fn new_doc(client: u64) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        offset_kind: OffsetKind::Utf16,
        ..Options::default()
    })
}

fn state_vector(pairs: &[(u64, u32)]) -> StateVector {
    let mut vector = StateVector::default();
    for (client, clock) in pairs {
        vector.set_max(ClientID::new(*client), *clock);
    }
    vector
}

fn apply(doc: &Doc, bytes: &[u8]) -> Result<(), String> {
    let update = YrsUpdate::decode_v1(bytes).map_err(|error| error.to_string())?;
    doc.transact_mut().apply_update(update).map_err(|error| error.to_string())
}

/// A text people edit.
#[derive(Debug)]
pub struct TextDocument {
    doc: Doc,
    content: TextRef,
    index: Index,
    /// The text as it is, once somebody asked; gone with the next change.
    text: Option<Arc<str>>,
}

impl Default for TextDocument {
    fn default() -> Self {
        Self::new()
    }
}

impl TextDocument {
    /// An empty document.
    pub fn new() -> Self {
        // The live document never writes, so its own client id is never seen.
        let doc = new_doc(1);
        let content = doc.get_or_insert_text(CONTENT);
        Self { doc, content, index: Index::new(), text: None }
    }

    /// Where everything is.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Applies stored bytes.
    pub fn load(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Unreadable> {
        let unreadable = |detail: String| Unreadable { seq, detail };
        let update = Update::read(bytes).map_err(|error| unreadable(error.to_string()))?;
        match admit_stored(&self.index, &update) {
            Verdict::Nothing => Ok(()),
            Verdict::Admit(admitted) => {
                apply(&self.doc, bytes).map_err(unreadable)?;
                self.integrate(&admitted);
                Ok(())
            }
            Verdict::Hold => Err(unreadable("it depends on something that is not stored".into())),
            Verdict::Refuse(refusal) => Err(unreadable(refusal.to_string())),
        }
    }

    /// Applies what admission admitted; `bytes` encode the same. Gives what became invisible.
    pub fn apply(&mut self, admitted: &Admitted<'_>, bytes: &[u8]) -> Vec<Stretch> {
        apply(&self.doc, bytes).expect("what admission admits applies");
        self.integrate(admitted)
    }

    /// Applies what a peer sent and admission admitted, unless no editor can have made it.
    ///
    /// That can only be told block by block, each in the document as the ones before it left it. Where one is
    /// impossible nothing of the update is kept: the index is made again from the document, which was not
    /// touched. That costs a while, and its sender the seat. Gives the runs it passed and cut in placing what is new, and the
    /// stretches it deleted.
    pub fn take(&mut self, admitted: &Admitted<'_>, bytes: &[u8]) -> Result<u32, Refusal> {
        // Deleting here and there cuts runs, each cut moving what stands behind it. What is gone already is not cut.
        let cuts = if admitted.deletes.len() <= limits::UPDATE_WORK as usize {
            admitted.deletes.len()
        } else {
            admitted.deletes.iter().filter(|range| self.index.any_visible(**range)).count()
        };
        if cuts > limits::UPDATE_WORK as usize {
            return Err(Refusal::TooMuchWork(limits::UPDATE_WORK));
        }
        let mut work = 0;
        for block in &admitted.blocks {
            let (units, origin, right) = (block.units, block.origin, block.right);
            let refusal = match self.index.check(units, origin, right, limits::UPDATE_WORK - work) {
                Ok(seen) => {
                    work += seen;
                    if work <= limits::UPDATE_WORK {
                        let deleted = block.content == Content::Deleted;
                        let most = limits::UPDATE_WORK - work;
                        work += self.index.insert_within(units, origin, right, deleted, most);
                    }
                    (work > limits::UPDATE_WORK).then_some(Refusal::TooMuchWork(limits::UPDATE_WORK))
                }
                Err(impossible) => Some(Refusal::Impossible(impossible)),
            };
            if let Some(refusal) = refusal {
                self.reindex();
                return Err(refusal);
            }
        }
        apply(&self.doc, bytes).expect("what admission admits applies");
        self.text = None;
        for range in &admitted.deletes {
            work += self.index.delete(*range).len() as u32;
        }
        Ok(work)
    }

    fn reindex(&mut self) {
        let mut fresh = Self::new();
        fresh.load(0, &self.diff(&[])).expect("the live document's own state is an update like any other");
        self.index = fresh.index;
    }

    fn integrate(&mut self, admitted: &Admitted<'_>) -> Vec<Stretch> {
        for block in &admitted.blocks {
            self.index.insert(block.units, block.origin, block.right, block.content == Content::Deleted);
        }
        let gone = admitted.deletes.iter().flat_map(|range| self.index.delete(*range)).collect();
        self.text = None;
        gone
    }

    /// The text.
    pub fn text(&mut self) -> Arc<str> {
        let (doc, content) = (&self.doc, &self.content);
        self.text.get_or_insert_with(|| content.get_string(&doc.transact()).into()).clone()
    }

    /// Makes the text something else than the history says.
    #[cfg(test)]
    pub(crate) fn garble(&mut self) {
        self.text = Some("something else".into());
    }

    /// What somebody lacks who has this.
    pub fn diff(&self, have: &[(u64, u32)]) -> Bytes {
        self.doc.transact().encode_diff_v1(&state_vector(have)).into()
    }

    /// What this document has: pairs of client and next clock.
    pub fn clocks(&self) -> Vec<(u64, u32)> {
        self.index.clocks().filter(|(_, next)| *next > 0).collect()
    }

    /// Whether index and yrs agree on clocks and length: they always do.
    pub fn is_consistent(&self) -> bool {
        let transaction = self.doc.transact();
        self.content.len(&transaction) == self.index.len()
            && transaction.state_vector() == state_vector(&self.clocks())
            && !transaction.has_missing_updates()
    }
}

/// The hash an update is remembered by.
pub fn bytes_hash(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// The hash a snapshot's text is compared by.
pub fn text_hash(text: &str) -> Hash {
    Hash(Sha256::digest(text.as_bytes()).into())
}

/// Whether a snapshot, loaded on its own, gives the text it was made of.
pub fn snapshot_is_good(bytes: &[u8], hash: Hash) -> bool {
    let mut document = TextDocument::new();
    document.load(0, bytes).is_ok() && text_hash(&document.text()) == hash && document.is_consistent()
}

/// Maps only the server writes.
#[derive(Debug)]
pub struct ReplicaDocument {
    live: Doc,
    draft: Doc,
    draft_client: u64,
}

impl ReplicaDocument {
    /// An empty replica; the server's edits are made under this client id, which must be fresh.
    pub fn new(client: u64) -> Self {
        Self { live: new_doc(1), draft: new_doc(client), draft_client: client }
    }

    /// Applies stored bytes.
    pub fn load(&mut self, seq: u64, bytes: &[u8]) -> Result<(), Unreadable> {
        for doc in [&self.live, &self.draft] {
            apply(doc, bytes).map_err(|detail| Unreadable { seq, detail })?;
        }
        Ok(())
    }

    /// Makes edits in the draft, and gives them as an update with the clocks it advances.
    pub fn edit(&mut self, edits: &[ReplicaEdit]) -> (Bytes, (u64, u32, u32)) {
        let client = ClientID::new(self.draft_client);
        let mut transaction = self.draft.transact_mut();
        let first = transaction.state_vector().get(&client);
        for edit in edits {
            make(&mut transaction, edit);
        }
        let next = transaction.store_next_clock(client);
        let bytes = transaction.encode_update_v1();
        drop(transaction);
        (bytes.into(), (self.draft_client, first, next))
    }

    /// Applies edits of [`ReplicaDocument::edit`] after their commit.
    pub fn apply(&mut self, bytes: &[u8]) {
        apply(&self.live, bytes).expect("the server's own edits apply");
    }

    /// Forgets edits that were not committed, and everything made on top of them.
    pub fn discard_draft(&mut self, client: u64) {
        self.draft = new_doc(client);
        self.draft_client = client;
        apply(&self.draft, &self.diff(&[])).expect("the live state applies");
    }

    /// What somebody lacks who has this.
    pub fn diff(&self, have: &[(u64, u32)]) -> Bytes {
        self.live.transact().encode_diff_v1(&state_vector(have)).into()
    }

    /// What this document has: pairs of client and next clock.
    pub fn clocks(&self) -> Vec<(u64, u32)> {
        self.live.transact().state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect()
    }

    /// The value at a key of a root map, as JSON.
    pub fn get(&self, map: &str, key: &str) -> Option<Value> {
        let transaction = self.live.transact();
        let any = transaction.get_map(map)?.get(&transaction, key)?.to_json(&transaction);
        serde_json::to_value(any).ok()
    }

    /// The keys of a root map.
    pub fn keys(&self, map: &str) -> Vec<String> {
        let transaction = self.live.transact();
        transaction
            .get_map(map)
            .map_or_else(Vec::new, |map| map.keys(&transaction).map(ToString::to_string).collect())
    }

    /// A text that stands for the whole content, to compare states by.
    pub fn canonical(&self) -> String {
        let transaction = self.live.transact();
        let mut roots = std::collections::BTreeMap::new();
        for name in ["documents", "members", "agents", "settings", "turns"] {
            if let Some(map) = transaction.get_map(name) {
                roots.insert(name, serde_json::to_value(map.to_json(&transaction)).unwrap_or_default());
            }
        }
        serde_json::to_string(&roots).unwrap_or_default()
    }
}

trait NextClock {
    fn store_next_clock(&self, client: ClientID) -> u32;
}

impl NextClock for TransactionMut<'_> {
    fn store_next_clock(&self, client: ClientID) -> u32 {
        self.state_vector().get(&client)
    }
}

fn make(transaction: &mut TransactionMut<'_>, edit: &ReplicaEdit) {
    match edit {
        ReplicaEdit::Set { map, key, value } => {
            let map = map_at(transaction, map);
            let value: Any = serde_json::from_value(value.clone()).unwrap_or(Any::Null);
            map.insert(transaction, key.as_str(), value);
        }
        ReplicaEdit::Remove { map, key } => {
            let map = map_at(transaction, map);
            map.remove(transaction, key);
        }
        ReplicaEdit::Append { map, key, text } => {
            let map = map_at(transaction, map);
            let held = match map.get(transaction, key) {
                Some(Out::YText(held)) => held,
                _ => map.insert(transaction, key.as_str(), TextPrelim::new("")),
            };
            let end = held.len(transaction);
            held.insert(transaction, end, text);
        }
    }
}

fn map_at(transaction: &mut TransactionMut<'_>, path: &[String]) -> MapRef {
    let (root, rest) = path.split_first().expect("a replica edit names a root map");
    let mut map = transaction.get_or_insert_map(root.as_str());
    for key in rest {
        map = match map.get(transaction, key) {
            Some(Out::YMap(inner)) => inner,
            _ => map.insert(transaction, key.as_str(), MapPrelim::default()),
        };
    }
    map
}

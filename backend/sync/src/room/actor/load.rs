//! From stored bytes to a room's content. What cannot be loaded whole opens for reading only.
//!
//! A document that fails to load twice in a row, by a damaged row or by taking the process with it, opens from
//! its last good snapshot and what follows that is readable, and takes nothing new: its log is not touched, so
//! that whoever repairs it finds everything. Where all of it can be read after all it was the process that was killed
//! twice, not the document that killed it: then it opens whole, and counts as not having failed. What takes a third
//! process with it is not tried again.

use std::collections::HashMap;

use ensemble_protocol::id::DocumentId;
use ensemble_store::{
    ClientOwner, Document, DocumentKind, InFlight, Snapshot, Store, StoreError, StoredUpdate,
};

use super::Content;
use crate::document::{ReplicaDocument, Unreadable};
use crate::error::RoomError;
use crate::registry::RoomRegistry;
use crate::writer::new_client;

/// Failures to load in a row after which a document opens for reading only.
const READ_ONLY_FAILURES: u32 = 2;
/// Failures to load in a row after which what follows the snapshot is not tried any more either.
const SNAPSHOT_ONLY_FAILURES: u32 = 3;

/// A document, loaded.
pub(super) struct Loaded {
    pub(super) record: Document,
    pub(super) content: Content,
    pub(super) owners: HashMap<u64, ClientOwner>,
    /// Updates that were read beside the snapshot, and their bytes.
    pub(super) updates: u64,
    pub(super) bytes: usize,
    /// Why it may only be read.
    pub(super) damage: Option<String>,
}

/// Why a whole document was not loaded.
enum Failure {
    /// What is stored makes no sense: trying again will not help.
    Damaged(String),
    /// Anything else.
    Other(RoomError),
}

pub(super) async fn load(registry: &RoomRegistry, document: DocumentId) -> Result<Loaded, RoomError> {
    let store = &*registry.options().store;
    let failed = |error| RoomError::store(document, error);
    registry.settle(document).await?;
    let owners = store.clients_of(document).await.map_err(failed)?;
    let owners: HashMap<u64, ClientOwner> =
        owners.into_iter().map(|record| (record.client, record.owner)).collect();
    let client = new_client(&*registry.options().ids, |client| owners.contains_key(&client));

    let mut slot = registry.slot(document);
    if registry.died_loading(document) {
        store.note_load_failure(document).await.map_err(failed)?;
    }
    let mut failures = store.load_failures(document).await.map_err(failed)?;
    if failures < READ_ONLY_FAILURES {
        if let Some(slot) = &mut slot {
            slot.begin(InFlight::LOADING);
        }
        let whole = whole(store, document, client).await;
        if let Some(slot) = &mut slot {
            slot.end();
        }
        match whole {
            Ok((record, content, updates, bytes)) => {
                if failures > 0 {
                    store.clear_load_failures(document).await.map_err(failed)?;
                }
                return Ok(Loaded { record, content, owners, updates, bytes, damage: None });
            }
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Damaged(detail)) => {
                tracing::error!(document.id = %document, %detail, "a document could not be loaded");
                failures = store.note_load_failure(document).await.map_err(failed)?;
                if failures < READ_ONLY_FAILURES {
                    return Err(RoomError::Store { document, detail });
                }
            }
        }
    }

    if let Some(slot) = &mut slot {
        slot.begin(InFlight::LOADING);
    }
    let readable = readable(store, document, client, failures).await;
    if let Some(slot) = &mut slot {
        slot.end();
    }
    let Readable { record, content, updates, bytes, damage } = readable?;
    if let Some(damage) = &damage {
        tracing::error!(document.id = %document, %damage, "a damaged document is open for reading only");
    } else {
        tracing::warn!(document.id = %document, failures, "a document that failed to load is whole after all");
        store.clear_load_failures(document).await.map_err(failed)?;
    }
    Ok(Loaded { record, content, owners, updates, bytes, damage })
}

/// What of a document can be read.
struct Readable {
    record: Document,
    content: Content,
    updates: u64,
    bytes: usize,
    /// Why that is not all of it.
    damage: Option<String>,
}

async fn readable(
    store: &dyn Store,
    document: DocumentId,
    client: u64,
    failures: u32,
) -> Result<Readable, RoomError> {
    let readable = store.load_readable(document).await.map_err(|error| RoomError::store(document, error))?;
    let readable = readable.filter(|readable| readable.document.deleted_at.is_none());
    let readable = readable.ok_or(RoomError::NotFound(document))?;
    let tried = failures < SNAPSHOT_ONLY_FAILURES;
    let rows = if tried { readable.updates } else { Vec::new() };
    let (updates, bytes) = (rows.len() as u64, rows.iter().map(|row| row.bytes.len()).sum());
    let kind = readable.document.kind;
    let (content, damage) = build(kind, client, readable.snapshot, rows, document).await?;
    let damage = readable
        .damage
        .map(|error| error.to_string())
        .or_else(|| damage.map(|unreadable| unreadable.to_string()))
        .or_else(|| (!tried).then(|| "it failed to load before".into()));
    // Of what may only be read no snapshot is kept.
    let (updates, bytes) = if damage.is_none() { (updates, bytes) } else { (0, 0) };
    Ok(Readable { record: readable.document, content, updates, bytes, damage })
}

async fn whole(
    store: &dyn Store,
    document: DocumentId,
    client: u64,
) -> Result<(Document, Content, u64, usize), Failure> {
    let loaded = match store.load_document(document).await {
        Ok(loaded) => loaded.filter(|loaded| loaded.document.deleted_at.is_none()),
        Err(error @ StoreError::Corrupt { .. }) => return Err(Failure::Damaged(error.to_string())),
        Err(error) => return Err(Failure::Other(RoomError::store(document, error))),
    };
    let loaded = loaded.ok_or(Failure::Other(RoomError::NotFound(document)))?;
    let updates = loaded.updates.len() as u64;
    let bytes = loaded.updates.iter().map(|update| update.bytes.len()).sum();
    let kind = loaded.document.kind;
    let (content, damage) =
        build(kind, client, loaded.snapshot, loaded.updates, document).await.map_err(Failure::Other)?;
    match damage {
        None => Ok((loaded.document, content, updates, bytes)),
        Some(unreadable) => Err(Failure::Damaged(unreadable.to_string())),
    }
}

/// Applies stored bytes up to the first that does not apply. A long history takes a while; other rooms go on.
async fn build(
    kind: DocumentKind,
    client: u64,
    snapshot: Option<Snapshot>,
    updates: Vec<StoredUpdate>,
    document: DocumentId,
) -> Result<(Content, Option<Unreadable>), RoomError> {
    tokio::task::spawn_blocking(move || {
        let mut content = match kind {
            DocumentKind::Text => Content::Text(Box::default()),
            DocumentKind::Tree | DocumentKind::Turns => {
                Content::Replica(Box::new(ReplicaDocument::new(client)))
            }
        };
        let snapshot = snapshot.map(|snapshot| (0, snapshot.bytes));
        for (seq, bytes) in snapshot.into_iter().chain(updates.into_iter().map(|row| (row.seq, row.bytes))) {
            let applied = match &mut content {
                Content::Text(text) => text.load(seq, &bytes),
                Content::Replica(replica) => replica.load(seq, &bytes),
            };
            if let Err(unreadable) = applied {
                return (content, Some(unreadable));
            }
        }
        (content, None)
    })
    .await
    .map_err(|error| RoomError::Store { document, detail: error.to_string() })
}

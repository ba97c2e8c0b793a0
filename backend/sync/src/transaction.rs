//! Edits of several rooms, committed together or not at all.
//!
//! Each room keeps the place of its server-made edits, one after the other in the order of the documents' ids,
//! so that two transactions never wait for each other. Each prepares its part, all parts go to the store as one
//! write, and only after the commit they enter the live documents. People type on in all of them meanwhile.
//!
//! A [`Transaction`] that is dropped, for whatever reason, leaves no trace. From [`Transaction::commit`] on a
//! task of its own sees it through, so that whoever asked may go away.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ensemble_protocol::id::{DocumentId, Version};
use ensemble_protocol::limits;
use ensemble_store::{Change, Commit, Committed, NewUpdate, StoreError, Write};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::error::RoomError;
use crate::registry::RoomRegistry;
use crate::room::{Order, PreparedText, ReplicaEdit, Room, TextEdits};

/// A room that closes under whoever wants its place, as an idle one may, is opened again so often.
const REOPENINGS: usize = 3;

/// Places kept in several rooms.
#[derive(Debug)]
pub struct Transaction {
    registry: RoomRegistry,
    held: BTreeMap<DocumentId, Held>,
}

#[derive(Debug)]
struct Held {
    room: Room,
    orders: mpsc::Sender<Order>,
    update: Option<NewUpdate>,
}

impl Held {
    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, RoomError>>) -> Order,
    ) -> Result<T, RoomError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| self.lost())?;
        answered.await.map_err(|_| self.lost())?
    }

    /// Why the place is not kept any more.
    fn lost(&self) -> RoomError {
        let document = self.room.document();
        if self.room.is_closed() { RoomError::Closed(document) } else { RoomError::Busy(document) }
    }
}

/// What was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together {
    /// The documents that changed, with their versions after it.
    pub versions: HashMap<DocumentId, Version>,
}

impl Transaction {
    /// Waits for the places in the rooms of these documents.
    ///
    /// Gives up with [`RoomError::Busy`] where one is not free within [`limits::ROOM_HOLD`].
    pub async fn begin(
        registry: &RoomRegistry,
        documents: impl IntoIterator<Item = DocumentId>,
    ) -> Result<Self, RoomError> {
        let until = Instant::now() + limits::ROOM_HOLD;
        let mut held = BTreeMap::new();
        for document in documents.into_iter().collect::<BTreeSet<_>>() {
            let place = timeout_at(until, hold(registry, document));
            held.insert(document, place.await.map_err(|_| RoomError::Busy(document))??);
        }
        Ok(Self { registry: registry.clone(), held })
    }

    fn place(&mut self, document: DocumentId) -> Result<&mut Held, RoomError> {
        self.held.get_mut(&document).ok_or(RoomError::NotFound(document))
    }

    /// Prepares a turn's edits of one of the documents, once.
    pub async fn edit_text(
        &mut self,
        document: DocumentId,
        edits: TextEdits,
    ) -> Result<PreparedText, RoomError> {
        let held = self.place(document)?;
        let (update, prepared) = held.order(|answer| Order::Text(edits, answer)).await?;
        held.update = update;
        Ok(prepared)
    }

    /// Prepares edits of one of the replicas, once.
    pub async fn edit_replica(
        &mut self,
        document: DocumentId,
        edits: Vec<ReplicaEdit>,
    ) -> Result<(), RoomError> {
        let held = self.place(document)?;
        held.update = held.order(|answer| Order::Replica(edits, answer)).await?;
        Ok(())
    }

    /// Commits all that was prepared, together with these rows and with updates of documents that no room has
    /// yet. At least one room's place has to be kept.
    ///
    /// Where this returns an error other than [`RoomError::Stopping`], nothing of it was committed.
    pub async fn commit(self, changes: Vec<Change>, updates: Vec<NewUpdate>) -> Result<Together, RoomError> {
        let Self { registry, held } = self;
        let tasks = registry.tasks().clone();
        let done = tasks.spawn(async move { see_through(&registry, held, changes, updates).await });
        done.await.map_err(|_| RoomError::Stopping)?
    }
}

async fn hold(registry: &RoomRegistry, document: DocumentId) -> Result<Held, RoomError> {
    let mut tries = 0;
    loop {
        let room = registry.open(document).await?;
        tries += 1;
        match room.hold().await {
            Ok(orders) => return Ok(Held { room, orders, update: None }),
            Err(RoomError::Closed(_)) if tries < REOPENINGS => {}
            Err(error) => return Err(error),
        }
    }
}

async fn see_through(
    registry: &RoomRegistry,
    held: BTreeMap<DocumentId, Held>,
    changes: Vec<Change>,
    mut updates: Vec<NewUpdate>,
) -> Result<Together, RoomError> {
    let Some(named) = held.keys().next().copied() else {
        return Ok(Together { versions: HashMap::new() });
    };
    let mut names: Vec<DocumentId> = updates.iter().map(|update| update.document).collect();
    let mut waiting = Vec::new();
    let mut refused = None;
    for (document, held) in held {
        let Some(update) = held.update.clone() else { continue };
        let (told, commit) = Commit::channel();
        // A room that was replaced while it stalled must not write beside the one that took its place.
        if held.room.is_replaced() || held.orders.send(Order::Commit(commit)).await.is_err() {
            refused = Some(held.lost());
            break;
        }
        updates.push(update);
        names.push(document);
        waiting.push((document, told));
    }
    let outcome = if let Some(error) = refused {
        Err(error)
    } else {
        let committed = registry.options().store.commit(Write { changes, updates }).await;
        committed.map_err(|error| match error {
            StoreError::NotFound { .. } => RoomError::NotFound(named),
            error => RoomError::store(named, error),
        })
    };
    let versions = outcome.as_ref().map_or_else(|_| Vec::new(), |committed| committed.versions.clone());
    let versions: HashMap<DocumentId, Version> = names.into_iter().zip(versions).collect();
    for (document, told) in waiting {
        let answer = match &outcome {
            Ok(committed) => {
                let versions = versions.get(&document).copied().into_iter().collect();
                Ok(Committed { versions, at: committed.at })
            }
            // Nobody knows what became of it: the rooms have to read it in the log.
            Err(RoomError::Stopping) => Err(StoreError::Closed),
            Err(error) => Err(StoreError::Unavailable { why: error.to_string(), source: None }),
        };
        if told.send(answer).is_err() {
            // The room died meanwhile. The one in its place may have been loaded before this was in the log.
            registry.close(document);
        }
    }
    outcome.map(|_| Together { versions })
}

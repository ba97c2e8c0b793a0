//! Finds and opens rooms: one per document, opened once however many ask.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, MemberId, NodeId, ProjectId};
use ensemble_store::{Clock, Ids, Stamp, Store};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::error::RoomError;
use crate::room::{Room, actor};

/// What rooms need.
#[derive(Clone)]
pub struct RegistryOptions {
    /// Where documents are kept.
    pub store: Arc<dyn Store>,
    /// The time, for what is stored.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// This run of the server.
    pub node: NodeId,
}

/// All open rooms of this server.
#[derive(Clone)]
pub struct RoomRegistry {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: RegistryOptions,
    rooms: Mutex<HashMap<DocumentId, Entry>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    stamps: AtomicU64,
}

enum Entry {
    /// Somebody is opening it; the others wait for the outcome.
    Opening(watch::Receiver<Option<Result<Room, RoomError>>>),
    Open(Room),
}

impl fmt::Debug for RoomRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomRegistry").field("rooms", &self.shared.rooms.lock().len()).finish_non_exhaustive()
    }
}

impl RoomRegistry {
    /// No rooms yet. They run as tasks of `tasks` and stop with `stop`, after their last commit.
    pub fn new(options: RegistryOptions, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let shared = Shared { options, rooms: Mutex::default(), tasks, stop, stamps: AtomicU64::new(1) };
        Self { shared: Arc::new(shared) }
    }

    /// The room of a document, opened if it is not open.
    pub async fn open(&self, document: DocumentId) -> Result<Room, RoomError> {
        loop {
            let mut opening = {
                let mut rooms = self.shared.rooms.lock();
                match rooms.get(&document) {
                    Some(Entry::Open(room)) if !room.is_closed() => return Ok(room.clone()),
                    Some(Entry::Opening(opening)) => opening.clone(),
                    _ => {
                        if self.shared.stop.is_cancelled() {
                            return Err(RoomError::Stopping);
                        }
                        let (outcome, opening) = watch::channel(None);
                        rooms.insert(document, Entry::Opening(opening.clone()));
                        // A task of its own: whoever asked first may go away, the others still wait.
                        let registry = self.clone();
                        self.shared.tasks.spawn(
                            async move { registry.load(document, &outcome).await }
                                .instrument(tracing::info_span!("room.open", document.id = %document)),
                        );
                        opening
                    }
                }
            };
            let outcome = opening.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            match outcome {
                Ok(Some(Ok(room))) if room.is_closed() => {}
                Ok(Some(outcome)) => return outcome,
                // The opener died; its entry is stale.
                Ok(None) | Err(_) => {
                    self.shared.rooms.lock().remove(&document);
                    return Err(RoomError::Closed(document));
                }
            }
        }
    }

    async fn load(&self, document: DocumentId, outcome: &watch::Sender<Option<Result<Room, RoomError>>>) {
        let opened = actor::open(self.clone(), document, self.shared.stop.child_token()).await;
        let opened = opened.map(|(room, actor)| {
            let span = tracing::info_span!("room", document.id = %document);
            self.shared.tasks.spawn(actor.run().instrument(span));
            room
        });
        let mut rooms = self.shared.rooms.lock();
        match &opened {
            Ok(room) => rooms.insert(document, Entry::Open(room.clone())),
            Err(_) => rooms.remove(&document),
        };
        outcome.send_replace(Some(opened));
    }

    /// The room of a document, if it is open.
    pub fn find(&self, document: DocumentId) -> Option<Room> {
        match self.shared.rooms.lock().get(&document) {
            Some(Entry::Open(room)) if !room.is_closed() => Some(room.clone()),
            _ => None,
        }
    }

    /// Changes what a person's peers may do in the open rooms of a project; `None` closes them.
    pub async fn set_scope(&self, project: ProjectId, member: MemberId, scope: Option<Scope>) {
        for room in self.rooms_of(project) {
            room.set_scope(member, scope).await;
        }
    }

    /// Closes the room of a document, for instance because it was deleted; its peers are told.
    pub fn close(&self, document: DocumentId) {
        if let Some(room) = self.find(document) {
            room.close();
        }
    }

    /// The open rooms of a project.
    pub fn rooms_of(&self, project: ProjectId) -> Vec<Room> {
        let rooms = self.shared.rooms.lock();
        rooms
            .values()
            .filter_map(|entry| match entry {
                Entry::Open(room) if room.project() == project && !room.is_closed() => Some(room.clone()),
                _ => None,
            })
            .collect()
    }

    /// How many rooms are open.
    pub fn len(&self) -> usize {
        self.shared.rooms.lock().len()
    }

    /// Whether no room is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next stamp of this run of the server.
    pub fn stamp(&self) -> Stamp {
        Stamp { node: self.shared.options.node, counter: self.shared.stamps.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn options(&self) -> &RegistryOptions {
        &self.shared.options
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    /// Forgets a room that ended, unless another took its place.
    pub(crate) fn forget(&self, document: DocumentId) {
        let mut rooms = self.shared.rooms.lock();
        if matches!(rooms.get(&document), Some(Entry::Open(room)) if room.is_closed()) {
            rooms.remove(&document);
        }
    }
}

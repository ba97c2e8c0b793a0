//! A project in memory with real rooms, people who type in them, and models that say what the test tells them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses another part of this, and a test that fails should panic"
)]

pub mod model;
pub mod person;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ensemble_agent::{
    AgentCard, AgentError, Documents, DocumentsError, StartTurn, Supervisor, SupervisorOptions,
};
use ensemble_model::ModelProvider;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, NodeId, ProjectId, Role, TurnId};
use ensemble_protocol::rest::{self, HunkState};
use ensemble_store::{
    Change, DocumentKind, Ids, NewUpdate, SqliteStore, Store, SystemClock, SystemIds, TurnRecord, Write,
};
use ensemble_sync::RoomError;
use ensemble_sync::registry::{RegistryOptions, RoomRegistry};
use ensemble_sync::room::{ReplicaEdit, ReplicaWrite};
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::person::{Person, Replica};

/// Longer than anything here takes on a busy machine; reached only when a test has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(3);

/// Looks again and again until there is something to see.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    seen.await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A project with one owner, on a server of its own.
pub struct World {
    pub store: Arc<dyn Store>,
    pub rooms: RoomRegistry,
    pub ids: Arc<dyn Ids>,
    pub project: ProjectId,
    pub tree: DocumentId,
    pub turns: DocumentId,
    pub owner: MemberId,
    pub files: Arc<Files>,
    pub supervisor: Supervisor,
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
}

impl World {
    pub async fn with(provider: Arc<dyn ModelProvider>) -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().await.unwrap());
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let node = NodeId::from_uuid(ids.uuid());
        let clock = Arc::new(SystemClock);
        let options = RegistryOptions { store: store.clone(), clock: clock.clone(), ids: ids.clone(), node };
        let rooms = RoomRegistry::new(options, TaskTracker::new(), CancellationToken::new());
        let owner = MemberId::from_uuid(ids.uuid());
        let member = Change::CreateMember { id: owner, name: "Ada".into(), color: "#30bced".into() };
        store.commit(Write::changes([member])).await.unwrap();
        let files = Arc::new(Files {
            store: store.clone(),
            rooms: rooms.clone(),
            ids: ids.clone(),
            lock: Arc::default(),
            begun: Arc::default(),
        });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let supervisor = Supervisor::new(
            SupervisorOptions {
                store: store.clone(),
                rooms: rooms.clone(),
                clock,
                ids: ids.clone(),
                node,
                provider,
                agent: AgentCard {
                    id: "agent".into(),
                    name: "Spark".into(),
                    color: "#7c5cff".into(),
                    model: "demo".into(),
                    demo: true,
                },
                documents: files.clone(),
            },
            tasks.clone(),
            stop.clone(),
        );
        let (project, tree, turns) = create_project(&store, &ids, owner).await;
        Self { store, rooms, ids, project, tree, turns, owner, files, supervisor, stop, tasks }
    }

    /// One more project of the same owner.
    pub async fn other_project(&self) -> ProjectId {
        create_project(&self.store, &self.ids, self.owner).await.0
    }

    /// A document with a text somebody wrote.
    pub async fn document(&self, path: &str, text: &str) -> DocumentId {
        self.document_in(self.project, path, text).await
    }

    pub async fn document_in(&self, project: ProjectId, path: &str, text: &str) -> DocumentId {
        self.files.make(project, path, text).await.unwrap()
    }

    /// What a document says, as far as it is committed.
    pub async fn text(&self, document: DocumentId) -> String {
        self.rooms.open(document).await.unwrap().read().await.unwrap().text.to_string()
    }

    /// The document at a path, if there is one.
    pub async fn at(&self, path: &str) -> Option<DocumentId> {
        let documents = self.store.documents_of(self.project).await.unwrap();
        documents.into_iter().find(|document| document.path == path).map(|document| document.id)
    }

    /// Somebody in a document.
    pub async fn join(&self, document: DocumentId) -> Person {
        Person::join(self.rooms.open(document).await.unwrap(), self.owner, self.ids.as_ref()).await
    }

    /// Somebody who looks at the list of turns.
    pub async fn watch_turns(&self) -> Replica {
        Replica::join(self.rooms.open(self.turns).await.unwrap(), self.owner, self.ids.as_ref()).await
    }

    pub fn asks(&self, prompt: &str, document: Option<DocumentId>) -> StartTurn {
        StartTurn {
            project: self.project,
            member: self.owner,
            prompt: prompt.into(),
            agent: None,
            document,
            selection: None,
        }
    }

    /// Starts a turn about a document.
    pub async fn start(&self, prompt: &str, document: DocumentId) -> TurnId {
        self.supervisor.start(self.asks(prompt, Some(document))).await.unwrap().id
    }

    pub async fn turn(&self, turn: TurnId) -> rest::Turn {
        self.supervisor.get(self.project, turn).await.unwrap()
    }

    /// Waits until a turn is over.
    pub async fn ended(&self, turn: TurnId) -> rest::Turn {
        eventually("the end of the turn", async || {
            let turn = self.turn(turn).await;
            turn.status.is_final().then_some(turn)
        })
        .await
    }

    pub async fn wait_for_text(&self, document: DocumentId, text: &str) {
        let mut last = String::new();
        let seen = tokio::time::timeout(PATIENCE, async {
            while last != text {
                last = self.text(document).await;
                tokio::time::sleep(LOOK).await;
            }
        });
        assert!(seen.await.is_ok(), "waited in vain; the text is\n{}", self.text(document).await);
    }

    pub async fn reject(&self, turn: TurnId) -> Result<rest::Turn, AgentError> {
        self.supervisor.reject(self.project, turn, None, self.owner).await
    }

    pub async fn accept(&self, turn: TurnId) -> Result<rest::Turn, AgentError> {
        self.supervisor.accept(self.project, turn, None, self.owner).await
    }

    pub async fn reject_hunks(&self, turn: TurnId, hunks: &[u32]) -> Result<rest::Turn, AgentError> {
        let hunks: Vec<HunkId> = hunks.iter().map(|hunk| HunkId(*hunk)).collect();
        self.supervisor.reject(self.project, turn, Some(&hunks), self.owner).await
    }

    pub async fn accept_hunks(&self, turn: TurnId, hunks: &[u32]) -> Result<rest::Turn, AgentError> {
        let hunks: Vec<HunkId> = hunks.iter().map(|hunk| HunkId(*hunk)).collect();
        self.supervisor.accept(self.project, turn, Some(&hunks), self.owner).await
    }

    /// A turn that a server began and did not end.
    pub async fn leave_behind(&self, turn: TurnRecord) {
        let room = self.rooms.open(self.turns).await.unwrap();
        let map = ["turns", &turn.id.to_string()];
        let edits = vec![ReplicaEdit::set(&map, "status", turn.status.as_str().into())];
        let changes = vec![Change::CreateTurn(Box::new(turn))];
        room.commit(ReplicaWrite { changes, edits, ..ReplicaWrite::default() }).await.unwrap();
    }
}

/// The states of a turn's hunks, in order.
pub fn states(turn: &rest::Turn) -> Vec<HunkState> {
    turn.hunks.iter().map(|hunk| hunk.state).collect()
}

async fn create_project(
    store: &Arc<dyn Store>,
    ids: &Arc<dyn Ids>,
    owner: MemberId,
) -> (ProjectId, DocumentId, DocumentId) {
    let id = ProjectId::from_uuid(ids.uuid());
    let (tree, turns) = (DocumentId::from_uuid(ids.uuid()), DocumentId::from_uuid(ids.uuid()));
    let project = Change::CreateProject { id, name: "Test".into(), tree, turns };
    let membership = Change::PutMembership { project: id, member: owner, role: Role::Owner, invite: None };
    store.commit(Write::changes([project, membership])).await.unwrap();
    (id, tree, turns)
}

/// The commands about documents, as the server has them, without its checks.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn Store>,
    rooms: RoomRegistry,
    ids: Arc<dyn Ids>,
    /// One command at a time; a test that holds it keeps them waiting.
    pub lock: Arc<Mutex<()>>,
    /// Commands that began.
    pub begun: Arc<AtomicUsize>,
}

impl Files {
    /// Brings a command to its end even if whoever asked goes away meanwhile.
    async fn finish<T: Send + 'static>(
        &self,
        command: impl Future<Output = Result<T, DocumentsError>> + Send + 'static,
    ) -> Result<T, DocumentsError> {
        let (lock, begun) = (self.lock.clone(), self.begun.clone());
        let command = tokio::spawn(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            let _held = lock.lock().await;
            command.await
        });
        command.await.unwrap()
    }

    async fn make(&self, project: ProjectId, path: &str, text: &str) -> Result<DocumentId, DocumentsError> {
        let id = DocumentId::from_uuid(self.ids.uuid());
        let kind = DocumentKind::Text;
        let mut write = ReplicaWrite {
            changes: vec![Change::CreateDocument { id, project, path: path.into(), kind, epoch: 1 }],
            edits: vec![ReplicaEdit::set(&["documents"], &id.to_string(), json!({ "path": path }))],
            updates: Vec::new(),
        };
        if let Some((bytes, client)) = ensemble_sync::writer::new_text(&*self.ids, text) {
            write.updates.push(NewUpdate {
                document: id,
                epoch: 1,
                bytes,
                author: ensemble_store::Author::default(),
                clients: vec![client],
                ledger: Vec::new(),
                stamp: self.rooms.stamp(),
            });
        }
        self.commit(project, write).await?;
        Ok(id)
    }

    async fn commit(&self, project: ProjectId, write: ReplicaWrite) -> Result<(), DocumentsError> {
        let tree = self.store.project(project).await.unwrap().unwrap().tree;
        let outcome = self.rooms.open(tree).await.unwrap().commit(write).await;
        outcome.map(drop).map_err(|error| match error {
            RoomError::Conflict(_) => {
                DocumentsError { code: ErrorCode::PathTaken, detail: "another document has this path".into() }
            }
            other => DocumentsError { code: ErrorCode::Internal, detail: other.to_string() },
        })
    }
}

#[async_trait]
impl Documents for Files {
    async fn create(
        &self,
        project: ProjectId,
        _: MemberId,
        path: &str,
    ) -> Result<DocumentId, DocumentsError> {
        let (files, path) = (self.clone(), path.to_owned());
        self.finish(async move { files.make(project, &path, "").await }).await
    }

    async fn rename(
        &self,
        project: ProjectId,
        _: MemberId,
        document: DocumentId,
        path: &str,
    ) -> Result<(), DocumentsError> {
        let write = ReplicaWrite {
            changes: vec![Change::RenameDocument { id: document, path: path.into() }],
            edits: vec![ReplicaEdit::set(&["documents"], &document.to_string(), json!({ "path": path }))],
            updates: Vec::new(),
        };
        let files = self.clone();
        self.finish(async move { files.commit(project, write).await }).await
    }

    async fn restore(
        &self,
        project: ProjectId,
        _: MemberId,
        document: DocumentId,
    ) -> Result<(), DocumentsError> {
        let path = self.store.document(document).await.unwrap().unwrap().path;
        let write = ReplicaWrite {
            changes: vec![Change::RestoreDocument { id: document }],
            edits: vec![ReplicaEdit::set(&["documents"], &document.to_string(), json!({ "path": path }))],
            updates: Vec::new(),
        };
        self.commit(project, write).await
    }

    async fn delete(
        &self,
        project: ProjectId,
        _: MemberId,
        document: DocumentId,
    ) -> Result<(), DocumentsError> {
        let write = ReplicaWrite {
            changes: vec![Change::DeleteDocument { id: document }],
            edits: vec![ReplicaEdit::remove(&["documents"], &document.to_string())],
            updates: Vec::new(),
        };
        let files = self.clone();
        self.finish(async move {
            files.commit(project, write).await?;
            files.rooms.close(document);
            Ok(())
        })
        .await
    }
}

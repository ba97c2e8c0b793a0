//! A small world to write into.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ensemble_protocol::id::{DocumentId, MemberId, NodeId, ProjectId, Role, TurnId, Version};
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, Commit, Committed, DocumentKind, Hash, Health, Ids as _,
    ManualClock, NewSnapshot, NewUpdate, Review, SeededIds, SqliteStore, Stamp, Store, StoreError,
    TurnRecord, TurnStatus, Write,
};
use tokio::sync::watch;

/// A store, a clock that stands still, ids that repeat, and verbs.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ids: SeededIds,
    pub(crate) node: NodeId,
    counter: AtomicU64,
}

/// Holds a story against every store there is.
pub(crate) async fn on_every_store(story: impl AsyncFn(World)) {
    let clock = Arc::new(ManualClock::default());
    let in_memory = SqliteStore::in_memory_with(clock.clone()).await.unwrap();
    story(World::new(Arc::new(in_memory), clock)).await;

    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let on_disk = SqliteStore::open(folder.path().join("ensemble.db"), clock.clone()).await.unwrap();
    story(World::new(Arc::new(on_disk), clock)).await;
}

impl World {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<ManualClock>) -> Self {
        Self::with_seed(store, clock, 1)
    }

    /// Worlds over one database must differ in their seed.
    pub(crate) fn with_seed(store: Arc<dyn Store>, clock: Arc<ManualClock>, seed: u64) -> Self {
        let ids = SeededIds::new(seed);
        let node = NodeId::from_uuid(ids.uuid());
        Self { store, clock, ids, node, counter: AtomicU64::new(0) }
    }

    pub(crate) async fn commit(&self, changes: impl Into<Vec<Change>>) -> Result<Committed, StoreError> {
        self.store.commit(Write::changes(changes)).await
    }

    pub(crate) async fn member(&self, name: &str) -> MemberId {
        let id = MemberId::from_uuid(self.ids.uuid());
        let member = Change::CreateMember { id, name: name.to_owned(), color: "#336699".to_owned() };
        self.commit([member]).await.unwrap();
        id
    }

    /// A project with one owner.
    pub(crate) async fn project(&self) -> (ProjectId, MemberId) {
        let member = self.member("Ada").await;
        let id = ProjectId::from_uuid(self.ids.uuid());
        let project = Change::CreateProject {
            id,
            name: "Engine".to_owned(),
            tree: DocumentId::from_uuid(self.ids.uuid()),
            turns: DocumentId::from_uuid(self.ids.uuid()),
        };
        self.commit([
            project,
            Change::PutMembership { project: id, member, role: Role::Owner, invite: None },
        ])
        .await
        .unwrap();
        (id, member)
    }

    pub(crate) fn creating(&self, project: ProjectId, path: &str) -> (DocumentId, Change) {
        let id = DocumentId::from_uuid(self.ids.uuid());
        let kind = DocumentKind::Text;
        (id, Change::CreateDocument { id, project, path: path.to_owned(), kind, epoch: 1 })
    }

    pub(crate) async fn document(&self, project: ProjectId, path: &str) -> DocumentId {
        let (id, change) = self.creating(project, path);
        self.commit([change]).await.unwrap();
        id
    }

    /// A project with one document.
    pub(crate) async fn one_document(&self) -> (DocumentId, MemberId) {
        let (project, member) = self.project().await;
        (self.document(project, "main.rs").await, member)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { node: self.node, counter: self.counter.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn update(&self, document: DocumentId, bytes: impl Into<Vec<u8>>) -> NewUpdate {
        NewUpdate {
            document,
            epoch: 1,
            bytes: Bytes::from(bytes.into()),
            author: Author::default(),
            clients: Vec::new(),
            ledger: Vec::new(),
            stamp: self.stamp(),
        }
    }

    pub(crate) async fn append(&self, document: DocumentId, bytes: &str) -> Version {
        self.store.commit(Write::update(self.update(document, bytes))).await.unwrap().versions[0]
    }

    pub(crate) async fn submit(&self, update: NewUpdate) -> Commit {
        self.store.submit(Write::update(update)).await.unwrap()
    }

    /// The document's updates, as text.
    pub(crate) async fn texts(&self, document: DocumentId) -> Vec<String> {
        let updates = self.store.updates_after(document, 0, u32::MAX).await.unwrap();
        updates.iter().map(|update| String::from_utf8_lossy(&update.bytes).into_owned()).collect()
    }

    pub(crate) fn hash(&self) -> Hash {
        Hash(self.ids.secret())
    }

    pub(crate) async fn turn(&self, project: ProjectId, by: MemberId) -> TurnRecord {
        let turn = TurnRecord {
            id: TurnId::from_uuid(self.ids.uuid()),
            project,
            agent: "agent".to_owned(),
            by,
            prompt: "rename total to subtotal".to_owned(),
            status: TurnStatus::Running,
            documents: Vec::new(),
            answer: String::new(),
            usage: None,
            error: None,
            review: Review::Open,
            node: self.node,
            created_at: ensemble_store::Clock::now(&*self.clock),
            finished_at: None,
        };
        self.commit([Change::CreateTurn(Box::new(turn.clone()))]).await.unwrap();
        turn
    }
}

/// A snapshot of these bytes.
pub(crate) fn snapshot(document: DocumentId, seq: u64, bytes: impl Into<Vec<u8>>) -> NewSnapshot {
    NewSnapshot { document, epoch: 1, seq, bytes: Bytes::from(bytes.into()), text_hash: Hash([7; 32]) }
}

pub(crate) fn advance(client: u64, first: u32, next: u32, owner: ClientOwner) -> ClientAdvance {
    ClientAdvance { client, first, next, owner }
}

/// A database file in a folder of its own, to be opened, closed and tampered with.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    opened: AtomicU64,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), opened: AtomicU64::new(1) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("ensemble.db")
    }

    pub(crate) async fn open(&self) -> (Arc<SqliteStore>, World) {
        open(&self.path(), self.opened.fetch_add(1, Ordering::Relaxed)).await
    }

    /// A connection behind the store's back.
    pub(crate) async fn connect(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions as _;
        sqlx::sqlite::SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn tamper(&self, sql: &str) {
        use sqlx::Connection as _;
        let mut connection = self.connect().await;
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{sql} was to change one row");
        connection.close().await.unwrap();
    }

    /// The one number this SQL gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        use sqlx::{Connection as _, Row as _};
        let mut connection = self.connect().await;
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        let number = row.try_get(0).unwrap();
        connection.close().await.unwrap();
        number
    }
}

pub(crate) async fn open(path: &Path, seed: u64) -> (Arc<SqliteStore>, World) {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(SqliteStore::open(path, clock.clone()).await.unwrap());
    (store.clone(), World::with_seed(store, clock, seed))
}

/// Waits for a state of health. The time limit only ends a test that would hang.
pub(crate) async fn wait_for_health(health: &mut watch::Receiver<Health>, wanted: impl Fn(&Health) -> bool) {
    let limit = Duration::from_mins(1);
    tokio::time::timeout(limit, health.wait_for(wanted)).await.expect("health should change").unwrap();
}

/// Waits for a condition. The time limit only ends a test that would hang.
pub(crate) async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

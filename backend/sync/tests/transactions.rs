//! Edits of several rooms at once: all or nothing, whoever types or dies meanwhile.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::sync::Arc;
use std::time::Duration;

use ensemble_edit::position::Utf16Offset;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, NodeId, PeerId, ProjectId, TurnId, Version};
use ensemble_protocol::limits;
use ensemble_protocol::sync::SyncMessage;
use ensemble_store::{
    Author, Change, DocumentKind, Ids, LedgerKind, NewUpdate, Review, SeededIds, SqliteStore, Store,
    SystemClock, TurnRecord, TurnStatus, Write,
};
use ensemble_sync::RoomError;
use ensemble_sync::anchor::BaseText;
use ensemble_sync::past::text_at;
use ensemble_sync::peer::{Outbox, Outgoing};
use ensemble_sync::registry::{RegistryOptions, RoomRegistry};
use ensemble_sync::room::{
    AnchoredEdit, Framing, Identity, Join, PeerGuard, PeerMessage, ReplicaEdit, TextEdits, TurnWrite,
};
use ensemble_sync::transaction::Transaction;
use ensemble_sync::writer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use yrs::updates::decoder::Decode as _;
use yrs::{ClientID, Doc, GetString as _, OffsetKind, Options, Text as _, TextRef, Transact as _};

const PATIENCE: Duration = Duration::from_secs(20);

/// A project with two texts and a person, on a server without sockets.
struct World {
    store: Arc<SqliteStore>,
    ids: Arc<SeededIds>,
    registry: RoomRegistry,
    project: ProjectId,
    turns: DocumentId,
    documents: [DocumentId; 2],
    member: MemberId,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let ids = Arc::new(SeededIds::new(11));
        let project = ProjectId::from_uuid(ids.uuid());
        let [tree, turns, one, two] = [(); 4].map(|()| DocumentId::from_uuid(ids.uuid()));
        let member = MemberId::from_uuid(ids.uuid());
        let mut changes = vec![
            Change::CreateMember { id: member, name: "Ada".into(), color: "#336699".into() },
            Change::CreateProject { id: project, name: "p".into(), tree, turns },
        ];
        for (id, path) in [(one, "a"), (two, "b")] {
            let kind = DocumentKind::Text;
            changes.push(Change::CreateDocument { id, project, path: path.into(), kind, epoch: 1 });
        }
        store.commit(Write::changes(changes)).await.unwrap();
        let registry = registry(&store, &ids);
        Self { store, ids, registry, project, turns, documents: [one, two], member }
    }

    /// Forgets everything in memory, as a restart does.
    fn restart(&mut self) {
        self.registry = registry(&self.store, &self.ids);
    }

    async fn read(&self, at: usize) -> BaseText {
        self.registry.open(self.documents[at]).await.unwrap().read().await.unwrap()
    }

    async fn texts(&self) -> [String; 2] {
        [self.read(0).await.text.to_string(), self.read(1).await.text.to_string()]
    }

    fn turn(&self) -> (TurnId, Change) {
        let id = TurnId::from_uuid(self.ids.uuid());
        let record = TurnRecord {
            id,
            project: self.project,
            agent: "token:ci".into(),
            by: self.member,
            prompt: "x".into(),
            status: TurnStatus::Done,
            documents: self.documents.to_vec(),
            answer: String::new(),
            usage: None,
            error: None,
            review: Review::Open,
            node: NodeId::from_uuid(self.ids.uuid()),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            finished_at: None,
        };
        (id, Change::CreateTurn(Box::new(record)))
    }

    /// Edits that put a text at the start of a document.
    async fn at_start(&self, turn: TurnId, at: usize, text: &str) -> TextEdits {
        let base = self.read(at).await;
        TextEdits { turn, member: self.member, edits: vec![edit(&base, 1, 0, 0, text)] }
    }

    async fn join(&self, at: usize, client: u64) -> Typist {
        let outbox = Outbox::new();
        let join = Join {
            peer: PeerId::from_uuid(self.ids.uuid()),
            identity: Identity { member: self.member, name: "Ada".into(), color: "#112233".into() },
            scope: Scope::ReadWrite,
            framing: Framing::YWebsocket,
            outbox: outbox.slot(),
        };
        let guard = self.registry.open(self.documents[at]).await.unwrap().join(join).await.unwrap();
        let options = Options {
            client_id: ClientID::new(client),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        };
        let doc = Doc::with_options(options);
        let content = doc.get_or_insert_text("content");
        let mut typist = Typist { guard, outbox, doc, content, synced: false };
        typist.guard.say(PeerMessage::Step1(vec![0].into())).await.unwrap();
        typist.until("the state", |typist| typist.synced).await;
        typist.guard.say(PeerMessage::Step2(vec![0, 0].into())).await.unwrap();
        typist
    }

    async fn log_length(&self, at: usize) -> u64 {
        self.store.updates_after(self.documents[at], 0, u32::MAX).await.unwrap().len() as u64
    }
}

fn registry(store: &Arc<SqliteStore>, ids: &Arc<SeededIds>) -> RoomRegistry {
    let options = RegistryOptions {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        ids: ids.clone(),
        node: NodeId::from_uuid(ids.uuid()),
    };
    RoomRegistry::new(options, TaskTracker::new(), CancellationToken::new())
}

fn edit(base: &BaseText, hunk: u32, start: u32, end: u32, insert: &str) -> AnchoredEdit {
    let (start, end) = (Utf16Offset(start), Utf16Offset(end));
    let (at, delete) = (base.anchor(start), base.units(start..end));
    AnchoredEdit { hunk: HunkId(hunk), at, insert: insert.into(), delete }
}

/// A person at a y-websocket.
struct Typist {
    guard: PeerGuard,
    outbox: Outbox,
    doc: Doc,
    content: TextRef,
    synced: bool,
}

impl Typist {
    fn text(&self) -> String {
        self.content.get_string(&self.doc.transact())
    }

    async fn type_at(&self, at: u32, delete: u32, text: &str) {
        let update = {
            let mut transaction = self.doc.transact_mut();
            self.content.remove_range(&mut transaction, at, delete);
            self.content.insert(&mut transaction, at, text);
            transaction.encode_update_v1()
        };
        self.guard.say(PeerMessage::Update(update.into())).await.unwrap();
    }

    /// Takes what comes until something is true.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !done(self) {
                let mut batch = Vec::new();
                self.outbox.take(&mut batch).await;
                for item in batch {
                    let Outgoing::Frame(frame) = item else { panic!("turned out") };
                    let mut reader = ensemble_protocol::lib0::Reader::new(&frame);
                    if reader.uint().unwrap() != 0 {
                        continue;
                    }
                    match SyncMessage::read(&mut reader).unwrap() {
                        SyncMessage::Step2(bytes) | SyncMessage::Update(bytes) => {
                            self.synced = true;
                            let update = yrs::Update::decode_v1(bytes).unwrap();
                            self.doc.transact_mut().apply_update(update).unwrap();
                        }
                        SyncMessage::Step1(_) => {}
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }
}

/// [E30] Edits of several documents are committed together, with their rows, their ledger and the replica.
#[tokio::test]
async fn several_rooms_commit_together() {
    let mut world = World::new().await;
    let (turn, row) = world.turn();
    let [one, two] = world.documents;
    let mut person = world.join(1, 7).await;
    let mut transaction = Transaction::begin(&world.registry, [two, world.turns, one]).await.unwrap();
    let empty = BaseText { version: Version { epoch: 1, seq: 0 }, text: "".into(), runs: [].into() };
    for (document, text) in [(one, "one"), (two, "two")] {
        let edits = vec![edit(&empty, 1, 0, 0, text)];
        let prepared =
            transaction.edit_text(document, TextEdits { turn, member: world.member, edits }).await.unwrap();
        assert_eq!((prepared.edits[0].written.inserted, prepared.edits[0].at), (3, 0));
    }
    let said = ReplicaEdit::set(&["turns", &turn.to_string()], "status", "done".into());
    transaction.edit_replica(world.turns, vec![said]).await.unwrap();
    assert_eq!(world.log_length(0).await + world.log_length(1).await, 0, "prepared is not written");
    let done = transaction.commit(vec![row], Vec::new()).await.unwrap();
    assert_eq!(done.versions[&one], Version { epoch: 1, seq: 1 });
    assert_eq!(done.versions.len(), 3);
    person.until("the text", |person| person.text() == "two").await;
    let ledger = world.store.ledger_of_turn(turn).await.unwrap();
    assert_eq!(ledger.iter().filter(|stored| stored.entry.kind == LedgerKind::Inserted).count(), 2);
    for _ in 0..2 {
        assert_eq!(world.texts().await, ["one", "two"]);
        let turns = world.registry.open(world.turns).await.unwrap().read().await.unwrap();
        assert!(turns.text.contains("\"done\""), "{}", turns.text);
        world.restart();
    }
}

/// [E30] What the store refuses leaves no trace in any room, and the rooms go on.
#[tokio::test]
async fn what_is_refused_leaves_no_trace() {
    let mut world = World::new().await;
    let (turn, row) = world.turn();
    world.store.commit(Write::changes([row.clone()])).await.unwrap();
    let [one, two] = world.documents;
    let mut transaction = Transaction::begin(&world.registry, [one, two, world.turns]).await.unwrap();
    let empty = BaseText { version: Version { epoch: 1, seq: 0 }, text: "".into(), runs: [].into() };
    for document in [one, two] {
        let edits = TextEdits { turn, member: world.member, edits: vec![edit(&empty, 1, 0, 0, "x")] };
        transaction.edit_text(document, edits).await.unwrap();
    }
    let said = ReplicaEdit::set(&["turns", "x"], "status", "done".into());
    transaction.edit_replica(world.turns, vec![said]).await.unwrap();
    // The turn exists already, so the last row of the write conflicts.
    let refused = transaction.commit(vec![row], Vec::new()).await.unwrap_err();
    assert!(matches!(refused, RoomError::Conflict(_)), "{refused}");
    for _ in 0..2 {
        assert_eq!(world.texts().await, ["", ""]);
        let turns = world.registry.open(world.turns).await.unwrap().read().await.unwrap();
        assert!(!turns.text.contains("done"), "{}", turns.text);
        assert_eq!(world.log_length(0).await + world.log_length(1).await, 0);
        world.restart();
    }
    let edits = vec![edit(&empty, 2, 0, 0, "after")];
    let write =
        TurnWrite { turn, member: world.member, edits, changes: Vec::new(), stop: CancellationToken::new() };
    world.registry.open(one).await.unwrap().write(write).await.unwrap();
    assert_eq!(world.texts().await, ["after", ""]);
}

/// [E31] People type on while a transaction keeps the place, and one that dies frees it and leaves no trace.
#[tokio::test]
async fn people_type_on_and_a_dead_transaction_frees_the_rooms() {
    let mut world = World::new().await;
    let (turn, row) = world.turn();
    let [one, two] = world.documents;
    let mut ada = world.join(0, 7).await;
    let mut bob = world.join(0, 8).await;
    for commit in [false, true] {
        let edits = world.at_start(turn, 0, "agent ").await;
        let mut transaction = Transaction::begin(&world.registry, [one, two]).await.unwrap();
        transaction.edit_text(one, edits).await.unwrap();
        // Reads wait for the place, typing does not.
        let reader = world.registry.open(one).await.unwrap();
        let mut read = tokio::spawn(async move { reader.read().await });
        let end = bob.text().encode_utf16().count() as u32;
        bob.type_at(end, 0, "bob ").await;
        ada.until("what bob typed", |ada| ada.text().ends_with("bob ")).await;
        let early = tokio::time::timeout(Duration::from_millis(20), &mut read).await;
        assert!(early.is_err(), "a read waits for the place");
        if commit {
            transaction.commit(vec![row.clone()], Vec::new()).await.unwrap();
        } else {
            drop(transaction);
        }
        let read = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap().unwrap();
        assert_eq!(read.text.contains("agent"), commit, "{}", read.text);
        assert_eq!(read.version.seq, world.log_length(0).await);
    }
    ada.until("the agent's text", |ada| ada.text() == "agent bob bob ").await;
    bob.until("the agent's text", |bob| bob.text() == "agent bob bob ").await;
    world.restart();
    assert_eq!(world.texts().await, ["agent bob bob ", ""]);
}

/// [E31] A place that nobody ends is free again after a while.
#[tokio::test]
async fn a_place_is_not_kept_for_ever() {
    let world = World::new().await;
    let (turn, _) = world.turn();
    let [one, two] = world.documents;
    let edits = world.at_start(turn, 0, "x").await;
    let mut forgotten = Transaction::begin(&world.registry, [one, two]).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(limits::ROOM_HOLD).await;
    tokio::time::resume();
    let mut next = Transaction::begin(&world.registry, [one, two]).await.unwrap();
    let late = forgotten.edit_text(one, edits.clone()).await.unwrap_err();
    assert!(matches!(late, RoomError::Busy(_)), "{late}");
    next.edit_text(one, edits).await.unwrap();
}

/// [E32] Transactions over the same documents in any order, among people who type, all come to an end and
/// leave one text everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_over_the_same_rooms_never_wait_for_each_other() {
    const EACH: usize = 20;
    let mut world = World::new().await;
    let (turn, row) = world.turn();
    world.store.commit(Write::changes([row])).await.unwrap();
    let mut people = [world.join(0, 7).await, world.join(1, 8).await];
    let mut tasks = Vec::new();
    for writer in 0..4 {
        let (registry, member) = (world.registry.clone(), world.member);
        let mut documents = world.documents;
        if writer % 2 == 1 {
            documents.reverse();
        }
        tasks.push(tokio::spawn(async move {
            for _ in 0..EACH {
                let mut transaction = Transaction::begin(&registry, documents).await.unwrap();
                for document in documents {
                    let edits = vec![AnchoredEdit {
                        hunk: HunkId(1),
                        at: ensemble_sync::anchor::Anchor::Start,
                        insert: "t".into(),
                        delete: Vec::new(),
                    }];
                    transaction.edit_text(document, TextEdits { turn, member, edits }).await.unwrap();
                }
                transaction.commit(Vec::new(), Vec::new()).await.unwrap();
            }
        }));
    }
    for _ in 0..EACH {
        for person in &people {
            person.type_at(0, 0, "p").await;
        }
        tokio::task::yield_now().await;
    }
    for task in tasks {
        tokio::time::timeout(PATIENCE * 3, task).await.expect("no deadlock").unwrap();
    }
    let texts = world.texts().await;
    for (at, person) in people.iter_mut().enumerate() {
        let text = &texts[at];
        assert_eq!((text.matches('t').count(), text.matches('p').count()), (4 * EACH, EACH), "{text}");
        person.until("the whole text", |person| person.text() == *text).await;
        assert_eq!(world.read(at).await.version.seq, world.log_length(at).await);
    }
    world.restart();
    assert_eq!(world.texts().await, texts);
}

/// [E33] An edit yields to what a person wrote in the place of all that it was to replace.
#[tokio::test]
async fn an_edit_yields_to_what_a_person_put_in_its_place() {
    let world = World::new().await;
    let (turn, row) = world.turn();
    let mut ada = world.join(0, 7).await;
    ada.type_at(0, 0, "one two three").await;
    ada.until("nothing", |ada| ada.text() == "one two three").await;
    let base = world.read(0).await;
    ada.type_at(4, 3, "2").await;
    ada.type_at(6, 2, "TH").await;
    let edits = vec![edit(&base, 1, 0, 3, "1"), edit(&base, 2, 4, 7, "zwei"), edit(&base, 3, 8, 13, "drei")];
    world.read(0).await;
    let mut transaction = Transaction::begin(&world.registry, [world.documents[0]]).await.unwrap();
    let edits = TextEdits { turn, member: world.member, edits };
    let prepared = transaction.edit_text(world.documents[0], edits).await.unwrap();
    let yielded: Vec<bool> = prepared.edits.iter().map(|edit| edit.written.yielded).collect();
    assert_eq!(yielded, [false, true, false]);
    assert_eq!(prepared.edits[2].written.missing, 2);
    transaction.commit(vec![row], Vec::new()).await.unwrap();
    assert_eq!(world.texts().await[0], "1 2 dreiTH", "the rest of it is replaced, what they typed stays");
}

/// [E33] What a turn writes by itself yields the same way, and wants nothing gone where it did.
#[tokio::test]
async fn what_a_turn_writes_yields_too() {
    let world = World::new().await;
    let (turn, row) = world.turn();
    let (other, other_row) = world.turn();
    world.store.commit(Write::changes([row, other_row])).await.unwrap();
    let mut ada = world.join(0, 7).await;
    ada.type_at(0, 0, "price = 10").await;
    ada.until("nothing", |ada| ada.text() == "price = 10").await;
    let base = world.read(0).await;
    ada.type_at(8, 2, "99").await;
    world.read(0).await;
    let room = world.registry.open(world.documents[0]).await.unwrap();
    let write = async |turn, edits| {
        let stop = CancellationToken::new();
        let write = TurnWrite { turn, member: world.member, edits, changes: Vec::new(), stop };
        room.write(write).await.unwrap()
    };
    let gone = write(other, vec![edit(&base, 1, 0, 5, "")]).await;
    assert_eq!(gone.edits[0].deleted, 5);
    let edits = vec![edit(&base, 1, 0, 5, "cost"), edit(&base, 1, 8, 9, "2"), edit(&base, 1, 6, 7, ":")];
    let written = write(turn, edits).await;
    let did: Vec<_> = written.edits.iter().map(|edit| (edit.yielded, edit.inserted)).collect();
    assert_eq!(did, [(true, 0), (true, 0), (false, 1)]);
    assert_eq!(world.texts().await[0], " : 99");
    let ledger = world.store.ledger_of_turn(turn).await.unwrap();
    let kinds: Vec<_> = ledger.iter().map(|stored| stored.entry.kind).collect();
    assert_eq!(kinds, [LedgerKind::Inserted, LedgerKind::Deleted]);
}

/// Edits in many places of a long text, as a rename through a large file makes them, keep no room busy for long.
#[tokio::test]
async fn many_edits_of_a_long_text_are_written() {
    const EDITS: u32 = 20_000;
    const APART: u32 = 40;
    let world = World::new().await;
    let (turn, row) = world.turn();
    world.store.commit(Write::changes([row])).await.unwrap();
    let ada = world.join(0, 7).await;
    let text = "0123456789".repeat((EDITS * APART / 10) as usize);
    ada.type_at(0, 0, &text).await;
    let mut expected = text;
    for (from, to, together) in [("3", "x", false), ("5", "y", true)] {
        let base = world.read(0).await;
        let first = expected.find(from).unwrap() as u32;
        let edits: Vec<AnchoredEdit> =
            (0..EDITS).map(|at| at * APART + first).map(|at| edit(&base, 1, at, at + 1, to)).collect();
        if together {
            let mut transaction = Transaction::begin(&world.registry, [world.documents[0]]).await.unwrap();
            let edits = TextEdits { turn, member: world.member, edits };
            transaction.edit_text(world.documents[0], edits).await.unwrap();
            transaction.commit(Vec::new(), Vec::new()).await.unwrap();
        } else {
            let stop = CancellationToken::new();
            let write = TurnWrite { turn, member: world.member, edits, changes: Vec::new(), stop };
            world.registry.open(world.documents[0]).await.unwrap().write(write).await.unwrap();
        }
        let mut units = expected.into_bytes();
        for at in (first as usize..units.len()).step_by(APART as usize) {
            units[at] = to.as_bytes()[0];
        }
        expected = String::from_utf8(units).unwrap();
        assert!(world.texts().await[0] == expected, "the text is as it was to be");
    }
    let ledger = world.store.ledger_of_turn(turn).await.unwrap();
    let gone = ledger.iter().filter(|stored| stored.entry.kind == LedgerKind::Deleted);
    assert_eq!(gone.count(), 2 * EDITS as usize);
}

/// [E34] The text of an older version is what it was, with units that lead into the text of now.
#[tokio::test]
async fn a_text_is_read_as_it_was() {
    let world = World::new().await;
    let mut ada = world.join(0, 7).await;
    let document = world.documents[0];
    let mut known = vec![world.read(0).await];
    for at in 0..700 {
        ada.type_at(at / 2, u32::from(at % 5 == 4), "é").await;
        if at % 50 == 0 || at == 699 {
            known.push(world.read(0).await);
        }
    }
    ada.until("nothing", |ada| !ada.text().is_empty()).await;
    for read in &known {
        let past = text_at(&world.registry, document, read.version).await.unwrap().unwrap();
        assert_eq!((&past.text, &past.runs), (&read.text, &read.runs), "{}", read.version);
    }
    let now = known.last().unwrap().version;
    for unknown in [Version { seq: now.seq + 1, ..now }, Version { epoch: 2, seq: 1 }] {
        assert!(text_at(&world.registry, document, unknown).await.unwrap().is_none());
    }
    assert!(text_at(&world.registry, world.turns, Version { epoch: 1, seq: 0 }).await.unwrap().is_none());
}

/// A room that finds that the log has what it has not seen keeps no snapshot of it, and is made anew.
#[tokio::test]
async fn a_room_that_missed_something_keeps_no_snapshot() {
    let world = World::new().await;
    let ada = world.join(0, 7).await;
    let document = world.documents[0];
    let (bytes, client) = writer::new_text(&*world.ids, "behind its back ").unwrap();
    let (author, stamp) = (Author::default(), world.registry.stamp());
    let update =
        NewUpdate { document, epoch: 1, bytes, author, clients: vec![client], ledger: Vec::new(), stamp };
    world.store.commit(Write::update(update)).await.unwrap();
    for at in 0..=limits::SNAPSHOT_UPDATES as u32 {
        let update = {
            let mut transaction = ada.doc.transact_mut();
            ada.content.insert(&mut transaction, at, "x");
            transaction.encode_update_v1()
        };
        if ada.guard.say(PeerMessage::Update(update.into())).await.is_err() {
            break;
        }
    }
    let text = tokio::time::timeout(PATIENCE, async {
        loop {
            let read = world.registry.open(document).await.unwrap().read().await;
            if let Some(read) = read.ok().filter(|read| read.text.contains("behind its back")) {
                return read;
            }
            tokio::task::yield_now().await;
        }
    });
    let read = text.await.expect("the room is made anew from the log");
    assert_eq!(read.version.seq, world.log_length(0).await);
    assert_eq!(read.text.matches('x').count() as u64, read.version.seq - 1);
}

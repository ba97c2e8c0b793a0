//! Rooms as their peers see them: real rooms over a real store, peers that are yrs documents.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::sync::Arc;

use bytes::Bytes;
use ensemble_edit::position::Utf16Offset;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, NodeId, PeerId, ProjectId, TurnId};
use ensemble_protocol::lib0::Reader;
use ensemble_protocol::limits;
use ensemble_protocol::sync::{PresenceEntry, SyncMessage, read_presence, write_presence};
use ensemble_store::{
    Change, DocumentKind, HunkRecord, HunkState, Ids, InFlight, NewUpdate, Review, SeededIds, SqliteStore,
    Store, SystemClock, TurnRecord, TurnStatus, Write,
};
use ensemble_sync::RoomError;
use ensemble_sync::anchor::BaseText;
use ensemble_sync::peer::{Outbox, Outgoing};
use ensemble_sync::registry::{Lost, RegistryOptions, RoomRegistry};
use ensemble_sync::room::{
    AnchoredEdit, Framing, Identity, Join, PeerGuard, PeerMessage, ReviewWrite, Reviewed, Room, TurnWrite,
    Verdict,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{
    ClientID, Doc, GetString as _, OffsetKind, Options, ReadTxn as _, Text as _, TextRef, Transact as _,
};

#[path = "rooms/budgets.rs"]
mod budgets;
#[path = "rooms/loading.rs"]
mod loading;

/// A server without sockets.
struct World {
    store: Arc<SqliteStore>,
    ids: Arc<SeededIds>,
    registry: RoomRegistry,
    project: ProjectId,
    document: DocumentId,
    members: Vec<MemberId>,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(SqliteStore::in_memory().await.unwrap());
        let ids = Arc::new(SeededIds::new(7));
        let project = ProjectId::from_uuid(ids.uuid());
        let document = DocumentId::from_uuid(ids.uuid());
        let (tree, turns) = (DocumentId::from_uuid(ids.uuid()), DocumentId::from_uuid(ids.uuid()));
        let members: Vec<MemberId> = (0..3).map(|_| MemberId::from_uuid(ids.uuid())).collect();
        let mut changes: Vec<Change> = members
            .iter()
            .map(|id| Change::CreateMember { id: *id, name: "Ada".into(), color: "#336699".into() })
            .collect();
        changes.push(Change::CreateProject { id: project, name: "p".into(), tree, turns });
        changes.push(Change::CreateDocument {
            id: document,
            project,
            path: "main.py".into(),
            kind: DocumentKind::Text,
            epoch: 1,
        });
        store.commit(Write::changes(changes)).await.unwrap();
        let registry = Self::registry(&store, &ids);
        Self { store, ids, registry, project, document, members }
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

    /// Forgets everything in memory, as a restart does.
    fn restart(&mut self) {
        self.registry = Self::registry(&self.store, &self.ids);
    }

    async fn room(&self) -> Room {
        self.registry.open(self.document).await.unwrap()
    }

    async fn text(&self) -> String {
        self.room().await.read().await.unwrap().text.to_string()
    }

    async fn peer(&self, client: u64, member: usize, scope: Scope) -> Peer {
        let peer = PeerId::from_uuid(self.ids.uuid());
        let outbox = Outbox::new();
        let address: Arc<str> = format!("{}/{}", self.project, self.document).into();
        let join = Join {
            peer,
            identity: Identity {
                member: self.members[member],
                name: format!("P{member}"),
                color: "#112233".into(),
            },
            scope,
            framing: Framing::Hocuspocus(address.clone()),
            outbox: outbox.slot(),
        };
        let guard = self.room().await.join(join).await.unwrap();
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(client),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let content = doc.get_or_insert_text("content");
        Peer { guard: Some(guard), outbox, doc, content, address, seen: Seen::default() }
    }

    /// A peer that has synced.
    async fn joined(&self, client: u64, member: usize) -> Peer {
        let mut peer = self.peer(client, member, Scope::ReadWrite).await;
        peer.sync().await;
        peer
    }

    async fn turn(&self) -> TurnId {
        let id = TurnId::from_uuid(self.ids.uuid());
        let record = TurnRecord {
            id,
            project: self.project,
            agent: "agent".into(),
            by: self.members[0],
            prompt: "x".into(),
            status: TurnStatus::Running,
            documents: vec![self.document],
            answer: String::new(),
            usage: None,
            error: None,
            review: Review::Open,
            node: NodeId::from_uuid(self.ids.uuid()),
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            finished_at: None,
        };
        self.store.commit(Write::changes([Change::CreateTurn(Box::new(record))])).await.unwrap();
        id
    }

    /// Decides about hunks of a turn.
    async fn review(&self, turn: TurnId, hunks: &[u32], verdict: Verdict) -> Reviewed {
        let state = if verdict == Verdict::Undo { HunkState::Rejected } else { HunkState::Accepted };
        let put = |hunk: &u32| {
            Change::PutHunk(Box::new(HunkRecord {
                turn,
                hunk: HunkId(*hunk),
                document: Some(self.document),
                path: "main.py".into(),
                state,
                anchor: None,
                head: None,
                inserted: 0,
                deleted: 0,
                line: None,
                reason: None,
            }))
        };
        let review = ReviewWrite {
            turn,
            hunks: hunks.iter().copied().map(HunkId).collect(),
            verdict,
            everything: false,
            member: self.members[0],
            changes: hunks.iter().map(put).collect(),
            stop: CancellationToken::new(),
        };
        self.room().await.review(review).await.unwrap()
    }
}

/// A stock client as far as a room can tell.
struct Peer {
    guard: Option<PeerGuard>,
    outbox: Outbox,
    doc: Doc,
    content: TextRef,
    address: Arc<str>,
    seen: Seen,
}

/// What a peer was sent.
#[derive(Debug, Default)]
struct Seen {
    statuses: Vec<bool>,
    updates: usize,
    step_1s: usize,
    step_2s: usize,
    presence: Vec<(u64, String)>,
    detached: Option<ErrorCode>,
}

impl Peer {
    async fn say(&self, message: PeerMessage) {
        self.guard.as_ref().unwrap().say(message).await.unwrap();
    }

    fn text(&self) -> String {
        self.content.get_string(&self.doc.transact())
    }

    /// Types without sending.
    fn edit(&self, at: u32, delete: u32, text: &str) -> Bytes {
        let mut transaction = self.doc.transact_mut();
        self.content.remove_range(&mut transaction, at, delete);
        self.content.insert(&mut transaction, at, text);
        transaction.encode_update_v1().into()
    }

    async fn type_at(&self, at: u32, text: &str) {
        let update = self.edit(at, 0, text);
        self.say(PeerMessage::Update(update)).await;
    }

    async fn sync(&mut self) {
        let have = self.doc.transact().state_vector().encode_v1();
        self.say(PeerMessage::Step1(have.into())).await;
        self.until(|seen| seen.step_2s > 0 || seen.detached.is_some()).await;
        let statuses = self.seen.statuses.len();
        self.until(|seen| seen.statuses.len() > statuses || seen.detached.is_some()).await;
    }

    /// Takes frames until something was seen, answering step 1s as clients do.
    async fn until(&mut self, done: impl Fn(&Seen) -> bool) {
        let waiting = async {
            loop {
                if done(&self.seen) {
                    return;
                }
                let mut batch = Vec::new();
                self.outbox.take(&mut batch).await;
                for item in batch {
                    self.take(item).await;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting)
            .await
            .expect("it is sent in the end");
    }

    async fn until_text(&mut self, expected: &str) {
        let waiting = async {
            while self.text() != expected {
                let mut batch = Vec::new();
                self.outbox.take(&mut batch).await;
                for item in batch {
                    self.take(item).await;
                }
            }
        };
        let reached = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(reached.is_ok(), "expected {expected:?}, has {:?}", self.text());
    }

    async fn take(&mut self, item: Outgoing) {
        let frame = match item {
            Outgoing::Frame(frame) => frame,
            Outgoing::Behind(_) => return self.guard.as_ref().unwrap().catch_up().await.unwrap(),
            Outgoing::Detached { code, .. } => {
                self.seen.detached = Some(code);
                return;
            }
        };
        let mut reader = Reader::new(&frame);
        assert_eq!(reader.string().unwrap(), &*self.address);
        match reader.uint().unwrap() {
            0 => match SyncMessage::read(&mut reader).unwrap() {
                SyncMessage::Step1(have) => {
                    self.seen.step_1s += 1;
                    let have = yrs::StateVector::decode_v1(have).unwrap();
                    let diff = self.doc.transact().encode_diff_v1(&have);
                    self.say(PeerMessage::Step2(diff.into())).await;
                }
                SyncMessage::Step2(bytes) => {
                    self.seen.step_2s += 1;
                    self.apply(bytes);
                }
                SyncMessage::Update(bytes) => {
                    self.seen.updates += 1;
                    self.apply(bytes);
                }
            },
            1 => {
                for entry in read_presence(reader.bytes().unwrap()).unwrap() {
                    self.seen.presence.push((entry.client, entry.state.to_owned()));
                }
            }
            8 => self.seen.statuses.push(reader.uint().unwrap() == 1),
            other => panic!("unexpected frame {other}"),
        }
    }

    fn apply(&self, bytes: &[u8]) {
        self.doc.transact_mut().apply_update(yrs::Update::decode_v1(bytes).unwrap()).unwrap();
    }
}

fn offset(units: u32) -> Utf16Offset {
    Utf16Offset(units)
}

/// An edit of a stretch of a base text.
fn edit(base: &BaseText, hunk: u32, start: u32, end: u32, insert: &str) -> AnchoredEdit {
    AnchoredEdit {
        hunk: HunkId(hunk),
        at: base.anchor(offset(start)),
        insert: insert.into(),
        delete: base.units(offset(start)..offset(end)),
    }
}

fn turn_write(turn: TurnId, member: MemberId, edits: Vec<AnchoredEdit>) -> TurnWrite {
    TurnWrite { turn, member, edits, changes: Vec::new(), stop: CancellationToken::new() }
}

/// [S1] What one peer types, the others see, and the author is answered once it is stored.
#[tokio::test]
async fn typing_reaches_the_others_and_is_acknowledged_once() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let mut bob = world.joined(20, 1).await;
    let before = ada.seen.statuses.len();
    ada.type_at(0, "hello").await;
    bob.until_text("hello").await;
    ada.until(|seen| seen.statuses.len() > before).await;
    assert_eq!(ada.seen.statuses[before..], [true]);
    let stored = world.store.updates_after(world.document, 0, 10).await.unwrap();
    assert_eq!(stored.len(), 1, "what was acknowledged is stored");
    assert_eq!(ada.seen.updates, 0, "nobody is sent their own typing");
}

/// [S2] A peer is sent nothing of a document before its step 2, and its updates wait for its own.
#[tokio::test]
async fn updates_wait_for_the_handshake() {
    let world = World::new().await;
    let ada = world.joined(10, 0).await;
    let mut bob = world.peer(20, 1, Scope::ReadWrite).await;
    // Bob typed offline; an update that builds on it comes before he has answered anything.
    bob.edit(0, 0, "offline ");
    let late = bob.edit(8, 0, "typed");
    bob.say(PeerMessage::Update(late)).await;
    ada.type_at(0, "x").await;
    bob.until(|seen| seen.step_1s == 1).await;
    assert_eq!((bob.seen.updates, bob.seen.step_2s), (0, 0));
    bob.until(|seen| seen.statuses.len() == 1).await;
    assert_eq!(bob.seen.statuses, [true], "the update, and not the answer to an unprompted step 1");
    let text = world.text().await;
    assert!(text.contains("offline typed") && text.contains('x'), "{text}");
}

/// [S3] One SyncStatus for an update and for the step 2 that answers our reply to a step 1.
#[tokio::test]
async fn acknowledgements_are_counted_as_the_stock_client_counts() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    assert_eq!(ada.seen.statuses, [true]);
    for _ in 0..5 {
        ada.type_at(0, "x").await;
    }
    ada.sync().await;
    ada.until(|seen| seen.statuses.len() >= 7).await;
    assert_eq!(ada.seen.statuses, [true; 7]);
}

/// [A3] A viewer's step 2 without news is fine; what a viewer types is refused and nobody sees it.
#[tokio::test]
async fn a_viewer_cannot_write() {
    let world = World::new().await;
    let ada = world.joined(10, 0).await;
    ada.type_at(0, "text").await;
    let mut eve = world.peer(30, 2, Scope::ReadOnly).await;
    eve.sync().await;
    assert_eq!(eve.seen.statuses, [true]);
    eve.type_at(0, "no").await;
    eve.until(|seen| seen.statuses.len() == 2).await;
    eve.sync().await;
    assert_eq!(eve.seen.statuses, [true, false, false]);
    assert_eq!(world.text().await, "text");
}

/// [S4] A malformed update is refused, its sender is turned out, and the others go on.
#[tokio::test]
async fn a_malformed_update_ends_only_its_sender() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let mut eve = world.joined(30, 2).await;
    eve.say(PeerMessage::Update(Bytes::from_static(&[1, 2, 3]))).await;
    eve.until(|seen| seen.detached.is_some()).await;
    assert_eq!(eve.seen.detached, Some(ErrorCode::MalformedUpdate));
    assert_eq!(eve.seen.statuses, [true, false]);
    let before = ada.seen.statuses.len();
    ada.type_at(0, "fine").await;
    ada.until(|seen| seen.statuses.len() > before).await;
    assert_eq!(world.text().await, "fine");
}

/// [P1] Presence carries the signed-in name and dies with its peer; what was said before is not lost.
#[tokio::test]
async fn leaving_loses_nothing_and_removes_presence() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let mut bob = world.joined(20, 1).await;
    let state = r#"{"user":{"name":"Somebody else"}}"#;
    let presence = write_presence([PresenceEntry { client: 20, clock: 0, state }].into_iter());
    bob.say(PeerMessage::Presence(presence.into())).await;
    ada.until(|seen| !seen.presence.is_empty()).await;
    assert!(ada.seen.presence[0].1.contains("\"name\":\"P1\""), "{:?}", ada.seen.presence);
    bob.type_at(0, "last words").await;
    bob.guard = None;
    ada.until(|seen| seen.presence.last().is_some_and(|(client, state)| *client == 20 && state == "null"))
        .await;
    ada.until_text("last words").await;
}

/// [D3] A turn's edits are stored before anybody sees them, go to the right place while people type, and are
/// one update for a whole flush.
#[tokio::test]
async fn a_turn_writes_where_it_was_shown_while_people_type() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    ada.type_at(0, "def total():\n    return total\n").await;
    let room = world.room().await;
    let base = room.read().await.unwrap();
    ada.type_at(0, "# note\n").await;
    let turn = world.turn().await;
    let edits = vec![edit(&base, 1, 4, 9, "subtotal"), edit(&base, 2, 24, 29, "subtotal")];
    let written = room.write(turn_write(turn, world.members[0], edits)).await.unwrap();
    assert_eq!(
        written.edits.iter().map(|edit| (edit.inserted, edit.deleted)).collect::<Vec<_>>(),
        [(8, 5), (8, 5)]
    );
    let before = ada.seen.updates;
    ada.until_text("# note\ndef subtotal():\n    return subtotal\n").await;
    assert_eq!(ada.seen.updates - before, 1);
    let ledger = world.store.ledger_of_turn(turn).await.unwrap();
    let deleted: Vec<&str> = ledger.iter().filter_map(|stored| stored.entry.text.as_deref()).collect();
    assert_eq!(deleted, ["total", "total"]);
    let version = written.version.unwrap();
    assert_eq!(room.read().await.unwrap().version, version);
}

/// [L1] Rejecting a turn takes back what it wrote and puts back what it deleted; what people typed stays.
#[tokio::test]
async fn rejecting_a_turn_keeps_what_people_typed_inside_its_text() {
    let mut world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    ada.type_at(0, "one two three").await;
    let room = world.room().await;
    let base = room.read().await.unwrap();
    let turn = world.turn().await;
    let edits = vec![edit(&base, 1, 4, 7, "TWO-AND-MORE")];
    room.write(turn_write(turn, world.members[0], edits)).await.unwrap();
    ada.until_text("one TWO-AND-MORE three").await;
    ada.type_at(8, "(mine)").await;
    ada.until(|seen| seen.statuses.len() == 3).await;
    drop(room);
    world.restart();
    let rejected = world.review(turn, &[1], Verdict::Undo).await;
    assert_eq!((rejected.withdrawn, rejected.restored), (12, 3));
    let text = world.text().await;
    assert!(text == "one two(mine) three" || text == "one (mine)two three", "{text}");
    let again = world.review(turn, &[1], Verdict::Undo).await;
    assert_eq!((again.withdrawn, again.restored), (0, 0), "twice is once");

    // And back: the agent's text is around Ada's again.
    world.restart();
    let accepted = world.review(turn, &[1], Verdict::Keep).await;
    assert_eq!((accepted.withdrawn, accepted.restored), (3, 12));
    assert_eq!(world.text().await, "one TWO-(mine)AND-MORE three");
}

/// [L7] What a person deleted that a turn had deleted already does not come back, and goes where it is back.
#[tokio::test]
async fn what_a_person_wanted_gone_stays_gone() {
    for (rejected_first, restarted) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::new().await;
        let mut ada = world.joined(10, 0).await;
        ada.type_at(0, "one two three").await;
        let base = world.room().await.read().await.unwrap();
        let turn = world.turn().await;
        let edits = vec![edit(&base, 1, 4, 13, "")];
        world.room().await.write(turn_write(turn, world.members[0], edits)).await.unwrap();
        if rejected_first {
            world.review(turn, &[1], Verdict::Undo).await;
            assert_eq!(world.text().await, "one two three");
        }
        if restarted {
            world.restart();
            // The same page: it knows what it knew, and nothing of what happened since.
            let again = world.joined(11, 0).await;
            ada = Peer { doc: ada.doc, content: ada.content, ..again };
        }
        let mut bob = world.joined(20, 1).await;
        // Ada has not seen what the turn did.
        assert_eq!(ada.text(), "one two three");
        let update = ada.edit(4, 4, "");
        ada.say(PeerMessage::Update(update)).await;
        let expected = "one three";
        if rejected_first {
            bob.until_text(expected).await;
        } else {
            assert_eq!(world.text().await, "one ");
        }
        world.review(turn, &[1], Verdict::Undo).await;
        assert_eq!(world.text().await, expected, "{rejected_first} {restarted}");
        bob.until_text(expected).await;
    }
}

/// [L7] A page that sends all it has, with every deletion it ever learnt of, wants nothing gone by that.
#[tokio::test]
async fn what_a_page_only_repeats_is_nobodys_wish() {
    let world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    ada.type_at(0, "one two three").await;
    let base = world.room().await.read().await.unwrap();
    let turn = world.turn().await;
    let edits = vec![edit(&base, 1, 4, 8, "")];
    world.room().await.write(turn_write(turn, world.members[0], edits)).await.unwrap();
    ada.until_text("one three").await;
    let everything = ada.doc.transact().encode_diff_v1(&yrs::StateVector::default());
    let before = ada.seen.statuses.len();
    ada.say(PeerMessage::Update(everything.clone().into())).await;
    ada.say(PeerMessage::Step2(everything.into())).await;
    ada.until(|seen| seen.statuses.len() > before).await;
    world.review(turn, &[1], Verdict::Undo).await;
    assert_eq!(world.text().await, "one two three");
}

/// [T7] Nothing is written for a turn that was stopped.
#[tokio::test]
async fn a_stopped_turn_writes_nothing() {
    let world = World::new().await;
    let room = world.room().await;
    let base = room.read().await.unwrap();
    let write = turn_write(world.turn().await, world.members[0], vec![edit(&base, 1, 0, 0, "late")]);
    write.stop.cancel();
    assert!(matches!(room.write(write).await, Err(RoomError::TurnStopped)));
    assert_eq!(world.text().await, "");
}

/// [A2] Nobody writes under an id of the server or of an agent.
#[tokio::test]
async fn a_turns_client_id_is_closed_to_people() {
    let world = World::new().await;
    let room = world.room().await;
    let base = room.read().await.unwrap();
    let turn = world.turn().await;
    room.write(turn_write(turn, world.members[0], vec![edit(&base, 1, 0, 0, "agent")])).await.unwrap();
    let client = room.read().await.unwrap().runs[0].units.client;
    let mut eve = world.peer(client, 2, Scope::ReadWrite).await;
    eve.sync().await;
    eve.type_at(5, "!").await;
    eve.until(|seen| seen.detached.is_some()).await;
    assert_eq!(eve.seen.detached, Some(ErrorCode::MalformedUpdate));
    assert_eq!(world.text().await, "agent");
}

/// [S7] A peer that takes nothing is caught up with one diff, and the room never waits for it.
#[tokio::test]
async fn a_slow_peer_gets_one_diff() {
    let world = World::new().await;
    let mut slow = world.joined(30, 2).await;
    let mut ada = world.joined(10, 0).await;
    let line = "x".repeat(64 * 1024);
    let rounds = 2 * limits::OUTBOX_BYTES / line.len();
    for _ in 0..rounds {
        ada.type_at(0, &line).await;
    }
    ada.until(|seen| seen.statuses.len() == rounds + 1).await;
    slow.until_text(&line.repeat(rounds)).await;
    assert!(slow.seen.updates < rounds / 2, "{} updates", slow.seen.updates);
}

/// After a crash a page may be loaded again and bring what others had typed from its local store, in an update
/// and late: it is taken, and stays theirs.
#[tokio::test]
async fn what_others_had_typed_comes_back_from_a_local_store() {
    let mut world = World::new().await;
    let mut ada = world.joined(10, 0).await;
    let mut bob = world.joined(20, 1).await;
    bob.type_at(0, "kept ").await;
    bob.until(|seen| seen.statuses.len() == 2).await;
    ada.until_text("kept ").await;
    // Ada was told of this, and then the server died: of a tab that had typed before, and of a new one.
    ada.apply(&bob.edit(5, 0, "lost "));
    let new_tab = world.peer(21, 1, Scope::ReadWrite).await;
    new_tab.apply(&bob.doc.transact().encode_diff_v1(&yrs::StateVector::default()));
    ada.apply(&new_tab.edit(10, 0, "and found"));
    let store = ada.doc.transact().encode_diff_v1(&yrs::StateVector::default());
    world.restart();
    world.registry.recover_all(Lost::Uncommitted);

    let mut reloaded = world.joined(11, 0).await;
    let announced = write_presence([PresenceEntry { client: 11, clock: 1, state: "{}" }].into_iter());
    reloaded.say(PeerMessage::Presence(announced.into())).await;
    reloaded.apply(&store);
    let before = reloaded.seen.statuses.len();
    reloaded.say(PeerMessage::Update(store.into())).await;
    reloaded.until(|seen| seen.statuses.len() > before || seen.detached.is_some()).await;
    assert_eq!((reloaded.seen.detached, reloaded.seen.statuses.last()), (None, Some(&true)));
    assert_eq!(world.text().await, "kept lost and found");

    for (client, tab) in [(20, bob), (21, new_tab)] {
        let mut back = world.peer(client, 1, Scope::ReadWrite).await;
        back.apply(&tab.doc.transact().encode_diff_v1(&yrs::StateVector::default()));
        back.sync().await;
        let before = back.seen.statuses.len();
        back.type_at(0, ">").await;
        back.until(|seen| seen.statuses.len() > before || seen.detached.is_some()).await;
        assert_eq!((back.seen.detached, back.seen.statuses.last()), (None, Some(&true)));
    }
    assert_eq!(world.text().await, ">>kept lost and found");
}

/// A program types a thousand times before it has answered our step 1, as one that writes a file line by line.
#[tokio::test]
async fn typing_faster_than_a_handshake_is_kept_and_acknowledged() {
    let world = World::new().await;
    let mut bob = world.peer(20, 1, Scope::ReadWrite).await;
    for at in 0..1000 {
        bob.type_at(at, "x").await;
    }
    bob.until(|seen| seen.statuses.len() == 1000 || seen.detached.is_some()).await;
    assert_eq!(bob.seen.detached, None);
    assert!(bob.seen.statuses.iter().all(|applied| *applied));
    assert_eq!(world.text().await.len(), 1000);
}

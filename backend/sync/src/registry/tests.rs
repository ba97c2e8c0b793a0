//! Rooms that die, stall, differ, or are asked for too much.

use ensemble_protocol::hocuspocus;
use ensemble_protocol::id::{HunkId, PeerId, ProjectId, TurnId};
use ensemble_store::{
    Author, Change, ClientAdvance, ClientOwner, DocumentKind, NewUpdate, SeededIds, SqliteStore, SystemClock,
};

use super::*;
use crate::anchor::{Anchor, UnitRange};
use crate::peer::{Outbox, Outgoing};
use crate::people::Budget;
use crate::room::{
    AnchoredEdit, Framing, Identity, Join, Message, PeerGuard, PeerMessage, ReplicaEdit, ReplicaWrite,
    ReviewWrite, TurnWrite, Verdict,
};

async fn world() -> (RoomRegistry, [DocumentId; 2], MemberId) {
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let ids = Arc::new(SeededIds::new(3));
    let project = ProjectId::from_uuid(ids.uuid());
    let [tree, turns, one, two] = [(); 4].map(|()| DocumentId::from_uuid(ids.uuid()));
    let member = MemberId::from_uuid(ids.uuid());
    let mut changes = vec![Change::CreateProject { id: project, name: "p".into(), tree, turns }];
    for (id, path) in [(one, "a"), (two, "b")] {
        let kind = DocumentKind::Text;
        changes.push(Change::CreateDocument { id, project, path: path.into(), kind, epoch: 1 });
    }
    store.commit(Write::changes(changes)).await.unwrap();
    let node = NodeId::from_uuid(ids.uuid());
    let options = RegistryOptions { store, clock: Arc::new(SystemClock), ids, node };
    (RoomRegistry::new(options, TaskTracker::new(), CancellationToken::new()), [one, two], member)
}

fn joining(registry: &RoomRegistry, member: MemberId, outbox: &Outbox) -> Join {
    Join {
        peer: PeerId::from_uuid(registry.options().ids.uuid()),
        identity: Identity { member, name: "Ada".into(), color: "#000000".into() },
        scope: Scope::ReadWrite,
        framing: Framing::YWebsocket,
        outbox: outbox.slot(),
    }
}

async fn join(registry: &RoomRegistry, room: &Room, member: MemberId, scope: Scope) -> (Outbox, PeerGuard) {
    let outbox = Outbox::new();
    let join = Join { scope, ..joining(registry, member, &outbox) };
    (outbox, room.join(join).await.unwrap())
}

/// The frames a peer was sent until the room let go of it, and why it did.
async fn until_detached(outbox: &Outbox) -> (Vec<Bytes>, ErrorCode) {
    let told = async {
        let (mut frames, mut batch) = (Vec::new(), Vec::new());
        loop {
            outbox.take(&mut batch).await;
            for item in batch.drain(..) {
                match item {
                    Outgoing::Frame(frame) => frames.push(frame),
                    Outgoing::Detached { code, .. } => return (frames, code),
                    Outgoing::Behind(_) => {}
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(2), told).await.expect("the peer is told")
}

/// A room in which something goes wrong is replaced, its peer is told, and another room goes on.
async fn replaced_after(fault: fn(&mut actor::RoomActor)) {
    let (registry, [one, two], member) = world().await;
    let (room, other) = (registry.open(one).await.unwrap(), registry.open(two).await.unwrap());
    let (outbox, guard) = join(&registry, &room, member, Scope::ReadWrite).await;
    let hash = Hash([7; 32]);
    room.inner.vitals.applying(Some(hash));
    room.inner.inbox.send(Message::Fault(fault)).await.unwrap();
    let (_, code) = until_detached(&outbox).await;
    assert_eq!(code, ErrorCode::Internal);
    other.read().await.expect("the other room goes on");
    let again = registry.open(one).await.unwrap();
    assert!(!Arc::ptr_eq(&again.inner, &room.inner));
    again.read().await.expect("the new room works");
    assert_eq!(registry.lost_rooms(), 1);
    assert!(registry.is_suspect(one, hash) && !registry.is_suspect(two, hash));
    drop(guard);
}

/// [S15] A room whose actor dies is replaced without touching others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_dies_is_replaced() {
    replaced_after(|_| panic!("a fault on purpose")).await;
}

/// [S15] A room that stalls is replaced without touching others, and writes nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_room_that_stalls_is_replaced() {
    replaced_after(actor::RoomActor::hang_until_replaced).await;
}

/// [S15] What a room had handed to the store when it died is in the one that takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_room_had_handed_in_is_not_missed() {
    let (registry, [one, _], member) = world().await;
    let room = registry.open(one).await.unwrap();
    let (outbox, _guard) = join(&registry, &room, member, Scope::ReadWrite).await;
    room.inner.inbox.send(Message::Fault(actor::RoomActor::die_handing_in)).await.unwrap();
    until_detached(&outbox).await;
    let room = registry.open(one).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
}

/// [S15] A room that has served what waited behind another write waits, and is not at work.
#[tokio::test]
async fn who_served_what_waited_is_at_rest() {
    let (registry, [one, _], _) = world().await;
    let project = registry.open(one).await.unwrap().project();
    let store = registry.options().store.clone();
    let tree = store.project(project).await.unwrap().unwrap().tree;
    let room = registry.open(tree).await.unwrap();
    let write = |key: &str| ReplicaWrite {
        edits: vec![ReplicaEdit::set(&["agents"], key, serde_json::Value::Bool(true))],
        ..ReplicaWrite::default()
    };
    let (first, second) = tokio::join!(room.commit(write("a")), room.commit(write("b")));
    first.and(second).unwrap();
    let rests = async {
        while room.inner.vitals.at().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), rests).await.expect("nothing is left to do");
}

/// Counts what is worth a warning.
struct Warnings(Arc<AtomicU64>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// [D30] Whoever sends what is refused again and again has so many lines of the log and no more, and a sum.
#[tokio::test]
async fn what_is_refused_floods_no_log() {
    let warnings = Arc::new(AtomicU64::new(0));
    let _counting = tracing::subscriber::set_default(Warnings(warnings.clone()));
    let (registry, [one, _], eve) = world().await;
    let room = registry.open(one).await.unwrap();
    for _ in 0..100 {
        let (outbox, guard) = join(&registry, &room, eve, Scope::ReadWrite).await;
        guard.say(PeerMessage::Step2(Bytes::from_static(b"\xff\xff"))).await.unwrap();
        assert_eq!(until_detached(&outbox).await.1, ErrorCode::MalformedUpdate);
    }
    let burst = limits::REFUSED_UPDATES.burst as u64;
    let said = warnings.load(Ordering::Relaxed);
    // One line for each that has one, and one for each that should have been kept aside and was not.
    assert!((burst..=2 * burst + 2).contains(&said), "{said} lines");
    registry.say_unsaid();
    assert_eq!(warnings.load(Ordering::Relaxed), said + 1, "one line for all the others");
}

const HELLO: &[u8] = b"\x01\x01\x09\x00\x04\x01\x07content\x05hello\x00";
const MORE: &[u8] = b"\x01\x01\x09\x05\x84\x09\x04\x06 world\x00";

/// [D31] A quiet room whose text is not what a reload gives is made again from its log, while peers are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_differs_from_a_reload_is_made_again() {
    let (registry, [one, _], member) = world().await;
    let room = registry.open(one).await.unwrap();
    let (outbox, guard) = join(&registry, &room, member, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
    room.inner.inbox.send(Message::Fault(actor::RoomActor::garble)).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "something else");
    let (_, code) = until_detached(&outbox).await;
    assert_eq!(code, ErrorCode::Internal);
    drop(guard);
    assert_eq!(&*registry.open(one).await.unwrap().read().await.unwrap().text, "hello");
    assert_eq!(registry.lost_rooms(), 1);
    assert!(!registry.may_rebuild(one), "not again and again where it does not help");
}

/// [S15] A room that was replaced writes nothing any more, also once nobody has a handle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_room_nobody_knows_any_more_writes_nothing() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let (outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    fault(&room, actor::RoomActor::hang_until_forgotten).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    registry.lose(&room);
    until_detached(&outbox).await;
    drop((guard, room));
    // What is left is the supervisor.
    in_time("the lost room to end", async {
        while registry.tasks().len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let stored = registry.options().store.load_document(one).await.unwrap().unwrap();
    assert_eq!((stored.document.last_seq, stored.updates.len()), (0, 0));
}

/// [S1] Whoever repeats what could not be committed is not told that it is saved; nobody reads it as saved, and no
/// snapshot has it.
#[tokio::test]
async fn nothing_is_told_of_what_was_not_committed() {
    let (registry, [one, _], ada) = world().await;
    let store = registry.options().store.clone();
    let room = registry.open(one).await.unwrap();
    let (_outbox, typing) = join(&registry, &room, ada, Scope::ReadWrite).await;
    let (address, outbox): (Arc<str>, _) = ("somewhere".into(), Outbox::new());
    let join = Join { framing: Framing::Hocuspocus(address.clone()), ..joining(&registry, ada, &outbox) };
    let repeating = room.join(join).await.unwrap();
    fault(&room, actor::RoomActor::hold_up).await;
    // Behind the room's back the id is somebody else's, so the commit will fail.
    let eve = MemberId::from_uuid(registry.options().ids.uuid());
    let taken = NewUpdate {
        document: one,
        epoch: 1,
        bytes: Bytes::from_static(&[0, 0]),
        author: Author::default(),
        clients: vec![ClientAdvance { client: 9, first: 0, next: 1, owner: ClientOwner::Member(eve) }],
        ledger: Vec::new(),
        stamp: registry.stamp(),
    };
    store.commit(Write::update(taken)).await.unwrap();
    typing.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    repeating.say(PeerMessage::Step1(Bytes::from_static(&[0]))).await.unwrap();
    repeating.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    let (answer, read) = tokio::sync::oneshot::channel();
    room.inner.inbox.send(Message::Read(answer)).await.unwrap();
    fault(&room, actor::RoomActor::want_snapshot).await;
    fault(&room, actor::RoomActor::unclog).await;
    let (frames, code) = until_detached(&outbox).await;
    assert_eq!(code, ErrorCode::Internal);
    assert!(!frames.contains(&hocuspocus::sync_status_frame(&address, true)), "it was told that it is saved");
    assert!(read.await.is_err(), "the text is no version of the log");
    drop((typing, repeating, room));
    registry.shared.stop.cancel();
    registry.tasks().close();
    in_time("everything to end", registry.tasks().wait()).await;
    assert!(store.load_document(one).await.unwrap().unwrap().snapshot.is_none());
}

/// [P1] Who leaves while coming in is not there.
#[tokio::test]
async fn who_leaves_while_coming_in_is_not_there() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let outbox = Outbox::new();
    tokio::select! {
        biased;
        _ = room.join(joining(&registry, ada, &outbox)) => panic!("the room has had no time to answer"),
        () = std::future::ready(()) => {}
    }
    let check: fn(&mut actor::RoomActor) = |actor| assert!(!actor.has_peers());
    fault(&room, check).await;
    room.read().await.expect("nobody is there");
}

/// [S20] After a commit that failed, whoever was told of an update may bring it back before its author does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_relayed_and_not_committed_may_come_back_from_others() {
    let (registry, [one, _], ada) = world().await;
    let bob = MemberId::from_uuid(registry.options().ids.uuid());
    let room = registry.open(one).await.unwrap();
    let (outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
    // From here on the room is not heard by the store.
    room.inner.vitals.replaced.store(true, Ordering::Release);
    guard.say(PeerMessage::Update(Bytes::from_static(MORE))).await.unwrap();
    until_detached(&outbox).await;
    let room = registry.open(one).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
    let (_outbox, guard) = join(&registry, &room, bob, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(MORE))).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello world");
}

/// [S19] A peer is asked again what the server lacks. What it brings is kept and told to others, and its answer
/// is not acknowledged; whoever may only read is not asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_was_told_behind_our_back_is_found() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let (outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    let bob = MemberId::from_uuid(registry.options().ids.uuid());
    let (reader, reading) = join(&registry, &room, bob, Scope::ReadOnly).await;
    for guard in [&guard, &reading] {
        guard.say(PeerMessage::Step1(Bytes::from_static(&[0]))).await.unwrap();
        guard.say(PeerMessage::Step2(Bytes::from_static(&[0, 0]))).await.unwrap();
    }
    for _ in 0..2 {
        room.inner.inbox.send(Message::Fault(actor::RoomActor::resync_now)).await.unwrap();
    }
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
    drop((guard, reading));
    let step_1s = |outbox: &Outbox| {
        let mut batch = Vec::new();
        outbox.try_take(&mut batch);
        let is_step_1 = |item: &&Outgoing| matches!(item, Outgoing::Frame(frame) if frame[..2] == [0, 0]);
        batch.iter().filter(is_step_1).count()
    };
    assert_eq!(step_1s(&outbox), 2, "one with the handshake, and one more until that is answered");
    assert_eq!(step_1s(&reader), 1);
}

/// [S21] What a room holds for peers that have not answered is bounded over all of them, and nothing of it is
/// lost for those who answer.
#[tokio::test]
async fn what_is_held_is_bounded_over_all_peers() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let (outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    let waiting = Bytes::from(vec![0; limits::HELD_BYTES]);
    let mut others = Vec::new();
    for _ in 0..limits::ROOM_HELD_BYTES / limits::HELD_BYTES + 4 {
        let other = join(&registry, &room, ada, Scope::ReadWrite).await;
        other.1.say(PeerMessage::Update(waiting.clone())).await.unwrap();
        others.push(other);
    }
    guard.say(PeerMessage::Update(Bytes::from_static(HELLO))).await.unwrap();
    let check: fn(&mut actor::RoomActor) = |actor| assert!(actor.held_bytes() <= limits::ROOM_HELD_BYTES);
    room.inner.inbox.send(Message::Fault(check)).await.unwrap();
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
    let mut batch = Vec::new();
    outbox.try_take(&mut batch);
    assert!(batch.iter().all(|item| matches!(item, Outgoing::Frame(_))), "{batch:?}");
}

/// An update that appends one character to [`HELLO`], as its `nth` successor.
fn typed(nth: u8) -> Bytes {
    let clock = 5 + nth;
    Bytes::from(vec![1, 1, 9, clock, 0x84, 9, clock - 1, 1, b'a' + nth, 0])
}

const ALPHABET: &str = "helloabcdefghijklmnopqrstuvwxyz";

async fn fault(room: &Room, fault: fn(&mut actor::RoomActor)) {
    room.inner.inbox.send(Message::Fault(fault)).await.unwrap();
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect(what)
}

/// [D8] While nothing can be saved and as much waits as may, people come in, get what is there and show
/// themselves; what they type is taken in order when there is room, also of those who have left.
#[tokio::test]
async fn a_room_goes_on_while_nothing_is_saved() {
    let (registry, [one, _], ada) = world().await;
    let bob = MemberId::from_uuid(registry.options().ids.uuid());
    let room = registry.open(one).await.unwrap();
    let (_outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    let saved = room.read().await.unwrap();
    fault(&room, actor::RoomActor::clog).await;
    for nth in 0..26 {
        guard.say(PeerMessage::Update(typed(nth))).await.unwrap();
    }
    drop(guard);
    let (outbox, guard) = in_time("to join", join(&registry, &room, bob, Scope::ReadWrite)).await;
    guard.say(PeerMessage::Step1(Bytes::from_static(&[0]))).await.unwrap();
    let told = async {
        let mut batch = Vec::new();
        outbox.take(&mut batch).await;
        batch
    };
    let is_step_2 = |item: &Outgoing| matches!(item, Outgoing::Frame(frame) if frame[..2] == [0, 1] && frame.windows(5).any(|part| part == b"hello"));
    assert!(in_time("to be told", told).await.iter().any(is_step_2));
    let past = crate::past::text_at(&registry, one, saved.version).await.unwrap().unwrap();
    assert_eq!((&*past.text, past.version), ("hello", saved.version), "what is saved can be read");
    fault(&room, actor::RoomActor::unclog).await;
    assert_eq!(&*in_time("to read", room.read()).await.unwrap().text, ALPHABET);
    assert_eq!(registry.lost_rooms(), 0);
    let mine: fn(&mut actor::RoomActor) = |actor| assert_eq!(actor.held_bytes(), 0);
    fault(&room, mine).await;
    room.read().await.expect("nothing is held any more");
}

fn rows(document: DocumentId) -> Vec<Change> {
    let (hash, bytes) = (Hash([1; 32]), Bytes::from_static(b"bytes"));
    vec![Change::Quarantine { document, member: None, hash, bytes, reason: "a row like any other".into() }]
}

/// [D8] A decision that changes no text, and a write that does not, wait for their rows as others do for their
/// text: while nothing can be saved the room goes on.
#[tokio::test]
async fn what_changes_no_text_holds_nobody_up() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let turn = TurnId::from_uuid(registry.options().ids.uuid());
    let (changes, stop) = (rows(one), CancellationToken::new());
    let write =
        TurnWrite { turn, member: ada, edits: Vec::new(), changes: changes.clone(), stop: stop.clone() };
    let review = ReviewWrite {
        turn,
        hunks: vec![HunkId(1)],
        verdict: Verdict::Undo,
        everything: false,
        member: ada,
        changes,
        stop,
    };
    fault(&room, actor::RoomActor::hold_up).await;
    let (answer, mut written) = tokio::sync::oneshot::channel();
    room.inner.inbox.send(Message::Write(Box::new(write), answer)).await.unwrap();
    let (answer, mut reviewed) = tokio::sync::oneshot::channel();
    room.inner.inbox.send(Message::Review(Box::new(review), answer)).await.unwrap();
    let (_outbox, guard) = in_time("to join", join(&registry, &room, ada, Scope::ReadWrite)).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    let typed: fn(&mut actor::RoomActor) = |actor| assert!(actor.has_peers());
    fault(&room, typed).await;
    let (_others, _other) = in_time("to join", join(&registry, &room, ada, Scope::ReadWrite)).await;
    assert!(written.try_recv().is_err() && reviewed.try_recv().is_err(), "nothing is saved yet");
    fault(&room, actor::RoomActor::unclog).await;
    in_time("the write", written).await.unwrap().unwrap();
    in_time("the decision", reviewed).await.unwrap().unwrap();
    assert_eq!(&*in_time("to read", room.read()).await.unwrap().text, "hello");
}

/// [L7] What a page says is gone, of text that a turn is about to delete, its person wants gone: nobody was told
/// of the turn's deletion yet.
#[tokio::test]
async fn what_is_gone_before_a_turn_deletes_it_stays_gone() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let (_outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    room.read().await.unwrap();
    let turn = TurnId::from_uuid(registry.options().ids.uuid());
    let edit = AnchoredEdit {
        hunk: HunkId(1),
        at: Anchor::Start,
        insert: String::new(),
        delete: vec![UnitRange { client: 9, clock: 0, length: 5 }],
    };
    let (changes, stop) = (Vec::new(), CancellationToken::new());
    let write = TurnWrite { turn, member: ada, edits: vec![edit], changes, stop: stop.clone() };
    fault(&room, actor::RoomActor::hold_up).await;
    let (answer, written) = tokio::sync::oneshot::channel();
    room.inner.inbox.send(Message::Write(Box::new(write), answer)).await.unwrap();
    // "he" is gone.
    guard.say(PeerMessage::Step2(Bytes::from_static(b"\x00\x01\x09\x01\x00\x02"))).await.unwrap();
    fault(&room, actor::RoomActor::unclog).await;
    in_time("the write", written).await.unwrap().unwrap();
    let (hunks, changes) = (vec![HunkId(1)], Vec::new());
    let verdict = Verdict::Undo;
    let review = ReviewWrite { turn, hunks, verdict, everything: false, member: ada, changes, stop };
    in_time("the decision", room.review(review)).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "llo");
}

/// [D8] What waits of one peer is bounded: it is turned out for now, nobody else is, and it comes back with all.
#[tokio::test]
async fn who_types_on_while_nothing_is_saved_comes_back() {
    let (registry, [one, _], ada) = world().await;
    let room = registry.open(one).await.unwrap();
    let (outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    let (others, other) = join(&registry, &room, ada, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    other.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    room.read().await.unwrap();
    fault(&room, actor::RoomActor::clog).await;
    other.say(PeerMessage::Update(typed(0))).await.unwrap();
    for _ in 0..=limits::HELD_UPDATES {
        guard.say(PeerMessage::Update(typed(0))).await.unwrap();
    }
    let (_, code) = in_time("to be turned out", until_detached(&outbox)).await;
    assert_eq!(code, ErrorCode::Busy, "for now, not for good");
    let (_outbox, again) = in_time("to come back", join(&registry, &room, ada, Scope::ReadWrite)).await;
    for nth in 0..26 {
        let said = typed(nth);
        again.say(if nth == 0 { PeerMessage::Step2(said) } else { PeerMessage::Update(said) }).await.unwrap();
    }
    fault(&room, actor::RoomActor::unclog).await;
    assert_eq!(&*in_time("to read", room.read()).await.unwrap().text, ALPHABET);
    let mut batch = Vec::new();
    others.try_take(&mut batch);
    assert!(batch.iter().all(|item| matches!(item, Outgoing::Frame(_))), "{batch:?}");
}

/// [D8] Reads that wait for what is being saved are bounded; the others are told at once.
#[tokio::test]
async fn only_so_many_reads_wait() {
    let (registry, [one, _], _) = world().await;
    let room = registry.open(one).await.unwrap();
    fault(&room, actor::RoomActor::clog).await;
    let mut reads = tokio::task::JoinSet::new();
    // What is in the way takes a place itself.
    for _ in 0..limits::ROOM_UNCOMMITTED - 1 + 8 {
        let room = room.clone();
        reads.spawn(async move { room.read().await });
    }
    for _ in 0..8 {
        let told = in_time("an answer", reads.join_next()).await.unwrap().unwrap();
        assert!(matches!(told, Err(RoomError::Busy(_))), "{told:?}");
    }
    fault(&room, actor::RoomActor::unclog).await;
    while let Some(read) = in_time("an answer", reads.join_next()).await {
        read.unwrap().unwrap();
    }
}

/// [S22] Nobody fills a room alone: a newcomer gets the place of whoever has the most.
#[tokio::test]
async fn nobody_fills_a_room_alone() {
    let (registry, [one, _], eve) = world().await;
    let room = registry.open(one).await.unwrap();
    let mut peers = Vec::new();
    for _ in 0..limits::PEERS_PER_ROOM {
        peers.push(join(&registry, &room, eve, Scope::ReadWrite).await);
    }
    let ada = MemberId::from_uuid(registry.options().ids.uuid());
    let (outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
    guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
    assert_eq!(&*room.read().await.unwrap().text, "hello");
    let turned_out = |outbox: &Outbox| {
        let mut batch = Vec::new();
        outbox.try_take(&mut batch);
        batch.iter().any(|item| matches!(item, Outgoing::Detached { code: ErrorCode::Busy, .. }))
    };
    assert_eq!(peers.iter().filter(|(outbox, _)| turned_out(outbox)).count(), 1);
    assert!(!turned_out(&outbox));
    let again = Join {
        peer: PeerId::from_uuid(registry.options().ids.uuid()),
        identity: Identity { member: eve, name: "Eve".into(), color: "#000000".into() },
        scope: Scope::ReadWrite,
        framing: Framing::YWebsocket,
        outbox: Outbox::new().slot(),
    };
    assert!(matches!(room.join(again).await, Err(RoomError::Full(_))), "whoever has the most waits");
}

/// [S23] Who has used up what one person may ask of a document is refused before anything is done, however
/// often they come back, and nobody else is.
#[tokio::test]
async fn coming_back_renews_no_budget() {
    type Spend = fn(&mut Budget) -> Duration;
    let spent: [Spend; 2] = [
        |budget| budget.work.charge(limits::PERSON_WORK.burst * 2.0),
        |budget| budget.bytes.charge(limits::PERSON_BYTES.burst * 2.0),
    ];
    for spend in spent {
        let (registry, [one, _], eve) = world().await;
        let room = registry.open(one).await.unwrap();
        registry.people().budget(one, eve, spend);
        for _ in 0..3 {
            let (outbox, guard) = join(&registry, &room, eve, Scope::ReadWrite).await;
            guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
            assert_eq!(until_detached(&outbox).await.1, ErrorCode::RateLimited);
        }
        assert_eq!(&*room.read().await.unwrap().text, "");
        let ada = MemberId::from_uuid(registry.options().ids.uuid());
        let (_outbox, guard) = join(&registry, &room, ada, Scope::ReadWrite).await;
        guard.say(PeerMessage::Step1(Bytes::from_static(&[0]))).await.unwrap();
        guard.say(PeerMessage::Step2(Bytes::from_static(HELLO))).await.unwrap();
        assert_eq!(&*room.read().await.unwrap().text, "hello");
    }
}

//! The ledger's rule beside a model of it: people and turns edit at random, see each other's edits late, hunks and
//! turns are rejected and accepted in any order, the room is made anew in between. After every step the text has
//! to be what the rule says of a plain list of units with who inserted and who wanted gone each of them.
//!
//! `ENSEMBLE_HISTORIES` says how many histories, `ENSEMBLE_HISTORY` plays one again.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, NodeId, PeerId, ProjectId, TurnId};
use ensemble_protocol::sync::SyncMessage;
use ensemble_store::{
    Change, DocumentKind, HunkRecord, HunkState, Ids, Review, SeededIds, SqliteStore, Store, SystemClock,
    TurnRecord, TurnStatus, Write,
};
use ensemble_sync::anchor::{Anchor, BaseText, Unit, UnitRange};
use ensemble_sync::document::TextDocument;
use ensemble_sync::ledger::{HunkOf, Ledger};
use ensemble_sync::peer::{Outbox, Outgoing};
use ensemble_sync::registry::{RegistryOptions, RoomRegistry};
use ensemble_sync::room::{
    AnchoredEdit, Framing, Identity, Join, PeerGuard, PeerMessage, ReviewWrite, Room, TurnWrite, Verdict,
};
use ensemble_sync::writer::{self, ServerEdit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use yrs::updates::decoder::Decode as _;
use yrs::{ClientID, Doc, GetString as _, OffsetKind, Options, TextRef, Transact as _};

/// Histories when nothing else is asked for.
const HISTORIES: u64 = 80;
const STEPS: u32 = 40;
const PEOPLE: usize = 2;

/// What the model knows of a unit that is not a copy.
#[derive(Debug, Default)]
struct Known {
    character: char,
    inserted_by: Option<HunkOf>,
    unwanted_by: BTreeSet<HunkOf>,
    unwanted_by_a_person: bool,
}

impl Known {
    /// The rule.
    fn is_visible(&self, undone: &BTreeSet<HunkOf>) -> bool {
        self.inserted_by.is_none_or(|hunk| !undone.contains(&hunk))
            && !self.unwanted_by_a_person
            && self.unwanted_by.iter().all(|hunk| undone.contains(hunk))
    }
}

/// Somebody who types, on a replica that hears of others when it pulls.
struct Person {
    replica: TextDocument,
    heard: u64,
    client: u64,
    clock: u32,
    member: MemberId,
    guard: Option<PeerGuard>,
    outbox: Outbox,
}

/// A turn with the text it was shown.
struct Turn {
    id: TurnId,
    base: BaseText,
    hunks: u32,
}

struct World {
    store: Arc<SqliteStore>,
    ids: SeededIds,
    registry: RoomRegistry,
    project: ProjectId,
    document: DocumentId,
    people: Vec<Person>,
    turns: Vec<Turn>,
    units: HashMap<Unit, Known>,
    /// All units but copies, in their order.
    order: Vec<Unit>,
    undone: BTreeSet<HunkOf>,
    /// One who only looks, fed with the frames the room sends.
    watcher: Watcher,
    log: Vec<String>,
}

struct Watcher {
    doc: Doc,
    content: TextRef,
    outbox: Outbox,
    guard: Option<PeerGuard>,
}

fn registry(store: &Arc<SqliteStore>, ids: &SeededIds) -> RoomRegistry {
    let options = RegistryOptions {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SeededIds::new(ids.random_u64())),
        node: NodeId::from_uuid(ids.uuid()),
    };
    RoomRegistry::new(options, TaskTracker::new(), CancellationToken::new())
}

impl World {
    async fn new(store: &Arc<SqliteStore>, seed: u64) -> Self {
        let ids = SeededIds::new(seed);
        let project = ProjectId::from_uuid(ids.uuid());
        let document = DocumentId::from_uuid(ids.uuid());
        let (tree, turns) = (DocumentId::from_uuid(ids.uuid()), DocumentId::from_uuid(ids.uuid()));
        let members: Vec<MemberId> = (0..=PEOPLE).map(|_| MemberId::from_uuid(ids.uuid())).collect();
        let mut changes: Vec<Change> = members
            .iter()
            .map(|id| Change::CreateMember { id: *id, name: "Ada".into(), color: "#336699".into() })
            .collect();
        changes.push(Change::CreateProject { id: project, name: "p".into(), tree, turns });
        let (path, kind) = ("main.py".into(), DocumentKind::Text);
        changes.push(Change::CreateDocument { id: document, project, path, kind, epoch: 1 });
        store.commit(Write::changes(changes)).await.unwrap();
        let people = members[..PEOPLE]
            .iter()
            .enumerate()
            .map(|(at, member)| Person {
                replica: TextDocument::new(),
                heard: 0,
                client: 100 + at as u64,
                clock: 0,
                member: *member,
                guard: None,
                outbox: Outbox::new(),
            })
            .collect();
        let doc = Doc::with_options(Options {
            client_id: ClientID::new(900),
            offset_kind: OffsetKind::Utf16,
            ..Options::default()
        });
        let content = doc.get_or_insert_text("content");
        let watcher = Watcher { doc, content, outbox: Outbox::new(), guard: None };
        let mut world = Self {
            store: store.clone(),
            registry: registry(store, &ids),
            ids,
            project,
            document,
            people,
            turns: Vec::new(),
            units: HashMap::new(),
            order: Vec::new(),
            undone: BTreeSet::new(),
            watcher,
            log: Vec::new(),
        };
        world.join().await;
        world
    }

    fn below(&self, limit: u32) -> u32 {
        (self.ids.random_u64() % u64::from(limit.max(1))) as u32
    }

    async fn room(&self) -> Room {
        self.registry.open(self.document).await.unwrap()
    }

    async fn join(&mut self) {
        let room = self.room().await;
        let address: Arc<str> = format!("{}/{}", self.project, self.document).into();
        let join = |member, outbox: &Outbox, peer| Join {
            peer,
            identity: Identity { member, name: "Ada".into(), color: "#112233".into() },
            scope: Scope::ReadWrite,
            framing: Framing::Hocuspocus(address.clone()),
            outbox: outbox.slot(),
        };
        for person in &mut self.people {
            let peer = PeerId::from_uuid(self.ids.uuid());
            person.outbox = Outbox::new();
            let guard = room.join(join(person.member, &person.outbox, peer)).await.unwrap();
            // Nothing that it would lack, and nothing the room lacks: from now on it is listened to.
            guard.say(PeerMessage::Step1(Bytes::from_static(&[0]))).await.unwrap();
            guard.say(PeerMessage::Step2(Bytes::from_static(&[0, 0]))).await.unwrap();
            person.guard = Some(guard);
        }
        let peer = PeerId::from_uuid(self.ids.uuid());
        self.watcher.outbox = Outbox::new();
        let guard = room.join(join(self.people[0].member, &self.watcher.outbox, peer)).await.unwrap();
        guard.say(PeerMessage::Step1(Bytes::from_static(&[0]))).await.unwrap();
        self.watcher.guard = Some(guard);
    }

    /// What these units stand for.
    async fn originals(&self, ranges: &[UnitRange]) -> Vec<Unit> {
        let entries = self.store.ledger_of_document(self.document).await.unwrap();
        let ledger = Ledger::new(entries.into_iter().map(|stored| stored.entry).collect());
        let parts = ranges.iter().flat_map(|range| ledger.originals(*range));
        let units = parts.flat_map(|(part, first)| {
            (0..part.length).map(move |at| Unit { client: first.client, clock: first.clock + at })
        });
        units.collect()
    }

    async fn pull(&mut self, person: usize) {
        let person = &mut self.people[person];
        for row in self.store.updates_after(self.document, person.heard, 10_000).await.unwrap() {
            person.replica.load(row.seq, &row.bytes).unwrap();
            person.heard = row.seq;
        }
    }

    fn word(&self) -> String {
        let letters: Vec<char> = "abcdefghijklmnopqrstuvwxyzé漢".chars().collect();
        (0..=self.below(4)).map(|_| letters[self.below(letters.len() as u32) as usize]).collect()
    }

    /// A person deletes and types, in what their replica shows them.
    async fn type_something(&mut self, at: usize) {
        if self.below(3) > 0 {
            self.pull(at).await;
        }
        let base = BaseText {
            version: "1.0".parse().unwrap(),
            text: self.people[at].replica.text(),
            runs: self.people[at].replica.index().visible_runs().into(),
        };
        let length = base.len();
        let start = self.below(length + 1);
        let end = (start + if self.below(2) == 0 { self.below(5) } else { 0 }).min(length);
        let delete = base.units(offset(start)..offset(end));
        let insert = if self.below(3) > 0 { self.word() } else { String::new() };
        let edit =
            ServerEdit { at: base.anchor(offset(start)), insert: insert.clone(), delete: delete.clone() };
        self.log.push(format!("person {at} {start}..{end} -> {insert:?} in {:?}", base.text));
        let person = &mut self.people[at];
        let (admitted, encoded) =
            writer::encode(person.replica.index(), person.client, person.clock, &[edit]).unwrap();
        if admitted.blocks.is_empty() && admitted.deletes.is_empty() {
            return;
        }
        let bytes = Bytes::from(admitted.encode());
        person.replica.apply(&admitted, &bytes);
        person.guard.as_ref().unwrap().say(PeerMessage::Update(bytes)).await.unwrap();
        let units = encoded[0].inserted;
        if let Some(units) = units {
            person.clock = units.end();
            self.inserted(units, &insert, None);
        }
        for unit in self.originals(&delete).await {
            self.units.get_mut(&unit).unwrap().unwanted_by_a_person = true;
        }
    }

    fn inserted(&mut self, units: UnitRange, text: &str, by: Option<HunkOf>) {
        for (clock, character) in (units.clock..units.end()).zip(text.chars()) {
            let known = Known { character, inserted_by: by, ..Known::default() };
            self.units.insert(Unit { client: units.client, clock }, known);
        }
    }

    async fn begin_turn(&mut self) {
        let id = TurnId::from_uuid(self.ids.uuid());
        let record = TurnRecord {
            id,
            project: self.project,
            agent: "agent".into(),
            by: self.people[0].member,
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
        let base = self.room().await.read().await.unwrap();
        self.log.push(format!("turn {} sees {:?}", self.turns.len(), base.text));
        self.turns.push(Turn { id, base, hunks: 0 });
    }

    /// A turn writes one or two hunks, in the text it was shown.
    async fn write(&mut self, at: usize) {
        let mut edits = Vec::new();
        for _ in 0..=self.below(2) {
            let turn = &self.turns[at];
            let length = turn.base.len();
            let start = self.below(length + 1);
            let end = (start + self.below(7)).min(length);
            let insert = if self.below(4) > 0 { self.word() } else { String::new() };
            let hunk = HunkId(turn.hunks + 1);
            let delete = turn.base.units(offset(start)..offset(end));
            self.log.push(format!("turn {at} hunk {hunk} {start}..{end} -> {insert:?}"));
            let anchor = turn.base.anchor(offset(start));
            edits.push(AnchoredEdit { hunk, at: anchor, insert, delete });
            self.turns[at].hunks += 1;
        }
        let turn = self.turns[at].id;
        let changes = edits.iter().map(|edit| self.put_hunk(turn, edit.hunk, HunkState::Applied)).collect();
        let (member, stop) = (self.people[0].member, CancellationToken::new());
        let write = TurnWrite { turn, member, edits: edits.clone(), changes, stop };
        let written = self.room().await.write(write).await.unwrap();
        for (edit, done) in edits.iter().zip(&written.edits) {
            let hunk = (turn, edit.hunk);
            if let (Anchor::After(last), true) = (done.end, done.inserted > 0) {
                let clock = last.clock + 1 - done.inserted;
                let units = UnitRange { client: last.client, clock, length: done.inserted };
                self.inserted(units, &edit.insert, Some(hunk));
            }
            if done.yielded {
                // It did nothing, so it wants nothing gone.
                continue;
            }
            for unit in self.originals(&edit.delete).await {
                self.units.get_mut(&unit).unwrap().unwanted_by.insert(hunk);
            }
        }
    }

    fn put_hunk(&self, turn: TurnId, hunk: HunkId, state: HunkState) -> Change {
        Change::PutHunk(Box::new(HunkRecord {
            turn,
            hunk,
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
    }

    async fn review(&mut self, turn: TurnId, hunks: Vec<HunkId>, verdict: Verdict) {
        let state = if verdict == Verdict::Undo { HunkState::Rejected } else { HunkState::Accepted };
        self.log.push(format!("{verdict:?} {hunks:?} of {turn}"));
        for hunk in &hunks {
            match verdict {
                Verdict::Undo => self.undone.insert((turn, *hunk)),
                Verdict::Keep => self.undone.remove(&(turn, *hunk)),
            };
        }
        let changes = hunks.iter().map(|hunk| self.put_hunk(turn, *hunk, state)).collect();
        let (member, stop) = (self.people[0].member, CancellationToken::new());
        let review = ReviewWrite { turn, hunks, verdict, everything: false, member, changes, stop };
        self.room().await.review(review).await.unwrap();
    }

    async fn review_something(&mut self) {
        if self.turns.is_empty() {
            return;
        }
        let turn = &self.turns[self.below(self.turns.len() as u32) as usize];
        let (id, all) = (turn.id, turn.hunks);
        let mut hunks: Vec<HunkId> = (1..=all).map(HunkId).collect();
        if self.below(2) == 0 {
            hunks.retain(|_| self.below(2) == 0);
        }
        let verdict = if self.below(3) > 0 { Verdict::Undo } else { Verdict::Keep };
        self.review(id, hunks, verdict).await;
    }

    async fn step(&mut self) {
        match self.below(12) {
            0 => self.begin_turn().await,
            1..=3 if !self.turns.is_empty() => {
                let at = self.below(self.turns.len() as u32) as usize;
                self.write(at).await;
            }
            4..=6 => self.review_something().await,
            7 if self.below(3) == 0 => {
                self.log.push("the room is made anew".into());
                // Until everything said is on disk.
                self.settled().await;
                self.registry = registry(&self.store, &self.ids);
                self.join().await;
            }
            _ => {
                let at = self.below(PEOPLE as u32) as usize;
                self.type_something(at).await;
            }
        }
        self.check().await;
    }

    /// The text once nothing is under way any more: a room that has something to put right begins with it before
    /// it answers a second time.
    async fn settled(&self) -> BaseText {
        let room = self.room().await;
        room.read().await.unwrap();
        room.read().await.unwrap()
    }

    /// The text is what the rule says, and no two units changed places.
    async fn check(&mut self) {
        let text = self.settled().await.text;
        let mut document = TextDocument::new();
        for row in self.store.updates_after(self.document, 0, 10_000).await.unwrap() {
            document.load(row.seq, &row.bytes).unwrap();
        }
        assert_eq!(document.text(), text, "what is stored is what is live");
        let entries = self.store.ledger_of_document(self.document).await.unwrap();
        // What stands for each unit now: itself, or the last copy.
        let mut stands: BTreeMap<Unit, Unit> = self.units.keys().map(|unit| (*unit, *unit)).collect();
        for entry in entries.iter().map(|stored| &stored.entry) {
            let Some((client, clock)) = entry.of else { continue };
            for at in 0..entry.length {
                let copy = Unit { client: entry.client, clock: entry.clock + at };
                stands.insert(Unit { client, clock: clock + at }, copy);
            }
        }
        let place = |unit: &Unit| {
            let now = stands[unit];
            let range = UnitRange { client: now.client, clock: now.clock, length: 1 };
            document.index().placed(range)[0].1
        };
        let mut order: Vec<Unit> = self.units.keys().copied().collect();
        order.sort_by_key(place);
        let old: BTreeSet<&Unit> = self.order.iter().collect();
        let still: Vec<Unit> = order.iter().filter(|unit| old.contains(unit)).copied().collect();
        assert_eq!(still, self.order, "units changed places\n{}", self.log.join("\n"));
        let expected: String = order
            .iter()
            .map(|unit| &self.units[unit])
            .filter(|known| known.is_visible(&self.undone))
            .map(|known| known.character)
            .collect();
        assert_eq!(&*text, expected, "the rule\n{}", self.log.join("\n"));
        self.order = order;
    }

    /// Everybody pulls, and has the same.
    async fn converge(&mut self) {
        let expected = self.settled().await.text;
        for person in 0..PEOPLE {
            self.pull(person).await;
            assert_eq!(self.people[person].replica.text(), expected);
        }
        let watcher = &mut self.watcher;
        let seen = async {
            while watcher.content.get_string(&watcher.doc.transact()) != *expected {
                let mut batch = Vec::new();
                watcher.outbox.take(&mut batch).await;
                for item in batch {
                    let Outgoing::Frame(frame) = item else { panic!("it keeps up") };
                    let mut reader = ensemble_protocol::lib0::Reader::new(&frame);
                    reader.string().unwrap();
                    if reader.uint().unwrap() != 0 {
                        continue;
                    }
                    if let SyncMessage::Step2(bytes) | SyncMessage::Update(bytes) =
                        SyncMessage::read(&mut reader).unwrap()
                    {
                        let update = yrs::Update::decode_v1(bytes).unwrap();
                        watcher.doc.transact_mut().apply_update(update).unwrap();
                    }
                }
            }
        };
        let seen = tokio::time::timeout(std::time::Duration::from_mins(1), seen).await;
        assert!(seen.is_ok(), "who looks on sees the same\n{}", self.log.join("\n"));
    }

    /// Rejects everything, in a random order.
    async fn reject_all(&mut self) {
        let mut left: Vec<usize> = (0..self.turns.len()).collect();
        while !left.is_empty() {
            let turn = left.swap_remove(self.below(left.len() as u32) as usize);
            let (id, hunks) = (self.turns[turn].id, self.turns[turn].hunks);
            self.review(id, (1..=hunks).map(HunkId).collect(), Verdict::Undo).await;
            self.check().await;
        }
        // What people alone would have made.
        let alone: String = self
            .order
            .iter()
            .map(|unit| &self.units[unit])
            .filter(|known| known.inserted_by.is_none() && !known.unwanted_by_a_person)
            .map(|known| known.character)
            .collect();
        assert_eq!(*self.settled().await.text, alone);
    }
}

const fn offset(units: u32) -> ensemble_edit::position::Utf16Offset {
    ensemble_edit::position::Utf16Offset(units)
}

/// [L5] Rejecting and accepting in any order gives what the rule says. [L4] Nothing of a rejected turn is brought
/// back by rejecting another, and rejecting all gives what people alone would have made, however much people and
/// turns deleted of each other's and the same text.
#[tokio::test]
async fn the_text_is_what_the_rule_says() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("ENSEMBLE_HISTORY") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ENSEMBLE_HISTORIES").unwrap_or(HISTORIES),
    };
    let store = Arc::new(SqliteStore::in_memory().await.unwrap());
    let (mut copies, mut also, mut people_also) = (0, 0, 0);
    for seed in seeds.clone() {
        let mut world = World::new(&store, seed).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.reject_all().await;
        world.converge().await;
        for stored in store.ledger_outline(world.document).await.unwrap() {
            copies += u32::from(stored.entry.of.is_some());
            if stored.entry.kind == ensemble_store::LedgerKind::AlsoDeleted {
                also += 1;
                people_also += u32::from(stored.entry.turn().is_none());
            }
        }
    }
    let histories = seeds.end - seeds.start;
    if histories > 20 {
        assert!(
            copies > 200 && also > 40 && people_also > 5,
            "{copies}, {also}, {people_also}: too little happened"
        );
    }
}

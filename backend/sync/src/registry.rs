//! Finds and opens rooms: one per document, opened once however many ask.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{DocumentId, MemberId, NodeId, PeerId, ProjectId};
use ensemble_protocol::limits;
use ensemble_store::{Clock, Hash, Ids, InFlight, Slot, Stamp, Store, Write};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::document::bytes_hash;
use crate::error::RoomError;
use crate::peer::Exit;
use crate::people::{Keep, People};
use crate::room::{Room, actor};
use crate::stall::{LOOK_EVERY, Looks, Waits, worth};

/// How often somebody who opens a document looks whether its last room is gone.
const CLOSING_LOOK: Duration = Duration::from_millis(2);

/// Processes that died at an update before it is not taken any more.
const DEADLY: usize = 2;

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
    /// Documents whose peers may give back what a crash lost, until each was opened once.
    recovery: Mutex<Recovery>,
    /// Documents whose last room may have left writes with the store that are not committed yet.
    unsettled: Mutex<HashSet<DocumentId>>,
    /// Updates that made a room die, oldest first.
    suspects: Mutex<VecDeque<(DocumentId, Hash)>>,
    lost: AtomicU64,
    people: People,
    /// Turns to keep a refused update aside, and to compare a document with a reload.
    asides: Arc<Semaphore>,
    comparisons: Arc<Semaphore>,
    /// Documents that were made again from their log because they differed from a reload, and when.
    rebuilt: Mutex<HashMap<DocumentId, Instant>>,
    /// Where updates being applied are written down.
    in_flight: OnceLock<InFlight>,
    /// Documents whose loading took the last process with it.
    died_loading: Mutex<HashSet<DocumentId>>,
}

/// Which documents have a recovery window when they are opened next.
#[derive(Debug, Default)]
enum Recovery {
    #[default]
    None,
    /// These: their rooms died.
    Of(HashSet<DocumentId>),
    /// All but these, which have been opened since: the server died.
    AllBut(Lost, HashSet<DocumentId>),
}

/// What a server lost that peers may still hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// What people had typed and it had not committed when it died. Agents' text is committed before anybody
    /// sees it.
    Uncommitted,
    /// Everything since a backup that was restored, agents' text too.
    SinceBackup,
}

/// What a room's supervisor watches.
#[derive(Debug)]
pub(crate) struct Vitals {
    started: Instant,
    /// How often the actor began something.
    begun: AtomicU64,
    /// Which of those it is at; 0 while it waits.
    busy_with: AtomicU64,
    /// Ways to let go of its peers when it does not answer any more.
    exits: Mutex<HashMap<PeerId, Exit>>,
    /// The update being applied.
    in_flight: Mutex<Option<Hash>>,
    /// Another room has taken its place: it must write nothing more.
    pub(crate) replaced: AtomicBool,
    /// It has committed its last, or was given up.
    over: AtomicBool,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            begun: AtomicU64::new(0),
            busy_with: AtomicU64::new(0),
            exits: Mutex::default(),
            in_flight: Mutex::default(),
            replaced: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }
}

impl Vitals {
    /// The actor begins something that takes no waiting.
    pub(crate) fn begin(&self) {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.busy_with.store(number, Ordering::Relaxed);
    }

    /// The actor is done, or waits for somebody else.
    pub(crate) fn rest(&self) {
        self.busy_with.store(0, Ordering::Relaxed);
    }

    /// What the actor is at, and of which actor that is; none while it waits.
    fn at(&self) -> Option<(Instant, u64)> {
        let with = self.busy_with.load(Ordering::Relaxed);
        (with != 0).then_some((self.started, with))
    }

    pub(crate) fn enter(&self, peer: PeerId, exit: Exit) {
        self.exits.lock().insert(peer, exit);
    }

    pub(crate) fn leave(&self, peer: PeerId) {
        self.exits.lock().remove(&peer);
    }

    /// Notes which update is being applied, or that none is.
    pub(crate) fn applying(&self, hash: Option<Hash>) {
        *self.in_flight.lock() = hash;
    }
}

/// What somebody finds who wants a room.
enum Looked {
    Open(Room),
    Opening(watch::Receiver<Option<Result<Room, RoomError>>>),
    /// It is closing, or has died and is being taken away: its last word decides how the next one opens.
    Closing,
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
        let shared = Shared {
            options,
            rooms: Mutex::default(),
            tasks,
            stop,
            stamps: AtomicU64::new(1),
            recovery: Mutex::default(),
            unsettled: Mutex::default(),
            suspects: Mutex::default(),
            lost: AtomicU64::new(0),
            people: People::default(),
            asides: Arc::new(Semaphore::new(limits::REFUSED_WAITING)),
            comparisons: Arc::new(Semaphore::new(limits::COMPARISONS)),
            rebuilt: Mutex::default(),
            in_flight: OnceLock::new(),
            died_loading: Mutex::default(),
        };
        let registry = Self { shared: Arc::new(shared) };
        let supervisor = registry.clone();
        registry.shared.tasks.spawn(async move { supervisor.supervise().await });
        registry
    }

    /// The server lost something: for a while after each document's first opening, peers may give back what
    /// others had written.
    pub fn recover_all(&self, lost: Lost) {
        *self.shared.recovery.lock() = Recovery::AllBut(lost, HashSet::new());
    }

    /// What peers of a document that is being opened may give back for [`limits::RECOVERY_WINDOW`], if anything.
    pub(crate) fn recovery(&self, document: DocumentId) -> Option<Lost> {
        match &mut *self.shared.recovery.lock() {
            Recovery::None => None,
            Recovery::Of(documents) => documents.remove(&document).then_some(Lost::Uncommitted),
            Recovery::AllBut(lost, opened) => opened.insert(document).then_some(*lost),
        }
    }

    /// Opens the window for a document that is about to be opened again.
    pub(crate) fn recover(&self, document: DocumentId) {
        self.shared.unsettled.lock().insert(document);
        let mut recovery = self.shared.recovery.lock();
        match &mut *recovery {
            Recovery::None => *recovery = Recovery::Of(HashSet::from([document])),
            Recovery::Of(documents) => drop(documents.insert(document)),
            Recovery::AllBut(_, opened) => drop(opened.remove(&document)),
        }
    }

    /// Waits until what a lost room of this document had handed to the store is in the log, or is known not to be:
    /// the next room would not know of it. The store commits in the order it is handed writes, so an empty one
    /// behind them tells.
    pub(crate) async fn settle(&self, document: DocumentId) -> Result<(), RoomError> {
        if !self.shared.unsettled.lock().contains(&document) {
            return Ok(());
        }
        let store = self.shared.options.store.clone();
        match timeout(limits::ROOM_SETTLE, store.commit(Write::default())).await {
            Ok(Ok(_)) => {
                self.shared.unsettled.lock().remove(&document);
                Ok(())
            }
            Ok(Err(error)) => Err(RoomError::store(document, error)),
            Err(_) => Err(RoomError::Store {
                document,
                detail: "what its last room wrote is not committed yet".into(),
            }),
        }
    }

    /// Whether these bytes made a room of this document die.
    pub(crate) fn is_suspect(&self, document: DocumentId, hash: Hash) -> bool {
        let suspects = self.shared.suspects.lock();
        !suspects.is_empty() && suspects.contains(&(document, hash))
    }

    /// Remembers bytes that made a room die.
    pub fn suspect(&self, document: DocumentId, hash: Hash) {
        let mut suspects = self.shared.suspects.lock();
        if suspects.len() == limits::SUSPECTS {
            suspects.pop_front();
        }
        suspects.push_back((document, hash));
    }

    /// Deals with what the last process was at when it died, and writes down from now on what this one is at.
    ///
    /// An update that was being applied each time two processes died is not taken again. One such death is no
    /// proof: a process that is killed from outside is often at an update of somebody honest, who would lose it.
    /// So each death is noted, and what is noted twice stays refused in the runs that follow, whatever ends them.
    /// A document that was being loaded has failed to.
    pub fn remember_in_flight(&self, file: &Path) -> std::io::Result<()> {
        let mut notes = InFlight::noted(file)?;
        let died_at = InFlight::read(file)?;
        let in_flight = InFlight::open(file)?;
        for (document, hash) in died_at {
            tracing::error!(document.id = %document, "the last run of the server died at work on a document");
            if hash == InFlight::LOADING {
                self.shared.died_loading.lock().insert(document);
            } else {
                notes.push((document, hash));
            }
        }
        let mut deaths: HashMap<(DocumentId, Hash), usize> = HashMap::new();
        // The newest first: of old ones as many are kept as there is room for, and a third note says no more than two.
        let mut kept = Vec::new();
        for note in notes.into_iter().rev() {
            let deaths = deaths.entry(note).or_default();
            *deaths += 1;
            if *deaths <= DEADLY && kept.len() < limits::SUSPECTS {
                kept.push(note);
            }
            if *deaths == DEADLY {
                self.suspect(note.0, note.1);
            }
        }
        for (document, hash) in kept.into_iter().rev() {
            in_flight.note(document, hash)?;
        }
        // Set once, before the first room opens.
        let _ = self.shared.in_flight.set(in_flight);
        Ok(())
    }

    /// A place to write down what a room is at. Without one a crash can repeat; that is no reason not to open.
    pub(crate) fn slot(&self, document: DocumentId) -> Option<Slot> {
        let slot = self.shared.in_flight.get()?.slot(document);
        slot.inspect_err(|error| tracing::warn!(%error, "updates in flight cannot be written down")).ok()
    }

    /// Whether loading this document took the last process with it, asked once.
    pub(crate) fn died_loading(&self, document: DocumentId) -> bool {
        self.shared.died_loading.lock().remove(&document)
    }

    /// How many rooms died, stalled or were not what a reload gives, and were replaced.
    pub fn lost_rooms(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Replaces rooms that stall. Their thread cannot be taken back; it is left to itself and counted.
    /// Says now and then what the log was spared.
    async fn supervise(&self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut summary = tokio::time::interval(limits::REFUSED_SUMMARY);
        let (mut looks, mut waits, mut last) = (Looks::default(), Waits::default(), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return self.say_unsaid(),
                _ = summary.tick() => {
                    self.say_unsaid();
                    continue;
                }
                _ = look.tick() => {}
            }
            let since = last.elapsed();
            last = Instant::now();
            let busy: Vec<(Room, (Instant, u64))> = {
                let rooms = self.shared.rooms.lock();
                let open = rooms.values().filter_map(|entry| match entry {
                    Entry::Open(room) => Some(room),
                    Entry::Opening(_) => None,
                });
                open.filter_map(|room| Some((room.clone(), room.inner.vitals.at()?))).collect()
            };
            // The system is asked only while there is something to judge.
            let waited = if busy.is_empty() && looks.is_empty() {
                waits = Waits::default();
                Duration::ZERO
            } else {
                waits.longest()
            };
            let at = busy.iter().map(|(room, at)| (room.document(), *at));
            let stalled = looks.look(worth(since, waited), at);
            for (room, _) in busy.iter().filter(|(room, _)| stalled.contains(&room.document())) {
                tracing::error!(document.id = %room.document(), "a room stalled and is replaced");
                self.lose(room);
            }
        }
    }

    /// Says in one line for each person how many of their refused updates had no line of their own.
    fn say_unsaid(&self) {
        for (member, updates) in self.people().unsaid() {
            tracing::warn!(member.id = %member, updates, "refused further updates by the same person");
        }
    }

    /// A room died or stalls: its peers are told, its place is free, what it was at is not taken again.
    fn lose(&self, room: &Room) {
        let document = room.document();
        let vitals = &room.inner.vitals;
        vitals.replaced.store(true, Ordering::Release);
        vitals.over.store(true, Ordering::Release);
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        if let Some(hash) = vitals.in_flight.lock().take() {
            self.suspect(document, hash);
        }
        self.recover(document);
        if let Some(in_flight) = self.shared.in_flight.get() {
            in_flight.forget(document);
        }
        let mut rooms = self.shared.rooms.lock();
        if matches!(rooms.get(&document), Some(Entry::Open(held)) if Arc::ptr_eq(&held.inner, &room.inner)) {
            rooms.remove(&document);
        }
        drop(rooms);
        for (_, exit) in vitals.exits.lock().drain() {
            exit.detach(ErrorCode::Internal, "the room was lost");
        }
    }

    /// The room of a document, opened if it is not open.
    pub async fn open(&self, document: DocumentId) -> Result<Room, RoomError> {
        loop {
            let mut opening = match self.look_up(document)? {
                Looked::Open(room) => return Ok(room),
                Looked::Opening(opening) => opening,
                Looked::Closing => {
                    tokio::time::sleep(CLOSING_LOOK).await;
                    continue;
                }
            };
            let outcome = opening.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            match outcome {
                Ok(Some(Ok(room))) if room.is_closed() => {}
                Ok(Some(outcome)) => return outcome,
                // The opener died; its entry is stale.
                Ok(None) | Err(_) => {
                    let mut rooms = self.shared.rooms.lock();
                    // Unless somebody has begun anew since.
                    if matches!(rooms.get(&document), Some(Entry::Opening(held)) if held.same_channel(&opening))
                    {
                        rooms.remove(&document);
                    }
                    return Err(RoomError::Closed(document));
                }
            }
        }
    }

    fn look_up(&self, document: DocumentId) -> Result<Looked, RoomError> {
        let mut rooms = self.shared.rooms.lock();
        match rooms.get(&document) {
            Some(Entry::Open(room)) if !room.is_closed() => return Ok(Looked::Open(room.clone())),
            Some(Entry::Open(room)) if !room.inner.vitals.over.load(Ordering::Acquire) => {
                return Ok(Looked::Closing);
            }
            Some(Entry::Opening(opening)) => return Ok(Looked::Opening(opening.clone())),
            Some(Entry::Open(_)) | None => {}
        }
        if self.shared.stop.is_cancelled() {
            return Err(RoomError::Stopping);
        }
        let (outcome, opening) = watch::channel(None);
        rooms.insert(document, Entry::Opening(opening.clone()));
        // A task of its own: whoever asked first may go away, the others still wait.
        let registry = self.clone();
        let span = tracing::info_span!("room.open", document.id = %document);
        self.shared.tasks.spawn(async move { registry.load(document, &outcome).await }.instrument(span));
        Ok(Looked::Opening(opening))
    }

    async fn load(&self, document: DocumentId, outcome: &watch::Sender<Option<Result<Room, RoomError>>>) {
        let opened = actor::open(self.clone(), document, self.shared.stop.child_token()).await;
        let opened = opened.map(|(room, actor)| {
            let span = tracing::info_span!("room", document.id = %document);
            let running = self.shared.tasks.spawn(actor.run().instrument(span));
            let (registry, watched) = (self.clone(), room.clone().downgrade());
            self.shared.tasks.spawn(async move {
                if running.await.is_err_and(|error| error.is_panic())
                    && let Some(room) = watched.upgrade()
                {
                    tracing::error!(document.id = %document, "a room died and is replaced");
                    registry.lose(&room);
                }
            });
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

    /// Keeps a refused update aside, for whoever looks into it; nobody waits for that, and of one person only so
    /// many are kept.
    pub(crate) fn keep_aside(&self, document: DocumentId, member: MemberId, bytes: &Bytes, reason: String) {
        let kept = match self.people().keep_aside(member, bytes.len()) {
            Keep::Whole => bytes.clone(),
            Keep::Hash => Bytes::new(),
            Keep::Nothing => return,
        };
        let Ok(turn) = self.shared.asides.clone().try_acquire_owned() else {
            tracing::warn!(document.id = %document, "a refused update was not kept aside: many wait for that");
            return;
        };
        let (store, bytes) = (self.options().store.clone(), bytes.clone());
        self.shared.tasks.spawn(async move {
            let hash = bytes_hash(&bytes);
            if let Err(error) = store.put_quarantine(document, Some(member), hash, kept, &reason).await {
                tracing::warn!(document.id = %document, %error, "a refused update was not kept aside");
            }
            drop(turn);
        });
    }

    /// A turn to compare a document with a reload, unless others are at it.
    pub(crate) fn turn_to_compare(&self) -> Option<OwnedSemaphorePermit> {
        self.shared.comparisons.clone().try_acquire_owned().ok()
    }

    /// Whether a document that differs from a reload may be made again from its log, which is noted.
    pub(crate) fn may_rebuild(&self, document: DocumentId) -> bool {
        let mut rebuilt = self.shared.rebuilt.lock();
        rebuilt.retain(|_, at| at.elapsed() < limits::REBUILD_INTERVAL);
        let may = !rebuilt.contains_key(&document);
        if may {
            rebuilt.insert(document, Instant::now());
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// What each person may still ask for.
    pub(crate) fn people(&self) -> &People {
        &self.shared.people
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.shared.tasks
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stop.is_cancelled()
    }

    /// Forgets a room that has committed its last, unless another took its place.
    pub(crate) fn forget(&self, ended: &Room) {
        ended.inner.vitals.over.store(true, Ordering::Release);
        let mut rooms = self.shared.rooms.lock();
        if matches!(rooms.get(&ended.document()), Some(Entry::Open(room)) if Arc::ptr_eq(&room.inner, &ended.inner))
        {
            rooms.remove(&ended.document());
        }
    }
}

#[cfg(test)]
mod tests;

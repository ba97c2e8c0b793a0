//! Starts turns, keeps them in order, stops them, and says what became of them.
//!
//! A project has one agent, and the agent does one turn at a time; others wait in its queue, which everybody can
//! see. Turns of different projects run beside each other. Each turn is a task; stopping it is a token.

mod outside;
mod review;
mod selection;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use ensemble_model::ModelProvider;
use ensemble_protocol::id::{DocumentId, MemberId, NodeId, ProjectId, TurnId};
use ensemble_protocol::limits;
use ensemble_protocol::rest::{self, HunkState, Review, Selection, TurnStatus};
use ensemble_store::{
    Change, Clock, DocumentKind, HunkRecord, Ids, Store, TurnError, TurnRecord, TurnUpdate,
};
use ensemble_sync::anchor::UnitRange;
use ensemble_sync::ledger::{self, HunkUnits, Ledger};
use ensemble_sync::registry::RoomRegistry;
use ensemble_sync::room::{ReplicaEdit, ReplicaWrite};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::context;
use crate::documents::Documents;
use crate::error::AgentError;
use crate::replica::{self, Turns};
use crate::work::{self, Queued};

/// Projects whose shown turns are remembered; more than that and all are read again when needed.
const PROJECTS_REMEMBERED: usize = 1024;

/// An agent as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCard {
    /// Its id in every project.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Its color, `#rrggbb`.
    pub color: String,
    /// The model behind it.
    pub model: String,
    /// Whether that is the built-in rule-based demo model.
    pub demo: bool,
}

/// What a supervisor needs.
#[derive(Clone)]
pub struct SupervisorOptions {
    /// Where turns are kept.
    pub store: Arc<dyn Store>,
    /// Where documents live.
    pub rooms: RoomRegistry,
    /// The time, for what is stored.
    pub clock: Arc<dyn Clock>,
    /// Ids of turns.
    pub ids: Arc<dyn Ids>,
    /// This run of the server.
    pub node: NodeId,
    /// The model.
    pub provider: Arc<dyn ModelProvider>,
    /// The agent it speaks as.
    pub agent: AgentCard,
    /// The commands about documents.
    pub documents: Arc<dyn Documents>,
}

/// What to start a turn with. The caller has checked that the member may edit the project.
#[derive(Debug, Clone)]
pub struct StartTurn {
    /// The project.
    pub project: ProjectId,
    /// Who asks.
    pub member: MemberId,
    /// What for.
    pub prompt: String,
    /// Which agent; the project's first when left out.
    pub agent: Option<String>,
    /// The document they are looking at.
    pub document: Option<DocumentId>,
    /// What they have selected there.
    pub selection: Option<Selection>,
}

/// The handle on all turns of this server. Clones are the same supervisor.
#[derive(Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("turns", &self.shared.state.lock().handles.len())
            .finish_non_exhaustive()
    }
}

pub(crate) struct Shared {
    pub(crate) options: SupervisorOptions,
    tasks: TaskTracker,
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seats: HashMap<ProjectId, Seat>,
    /// Turns that are not over.
    handles: HashMap<TurnId, Handle>,
    /// Turns that are being accepted or rejected, each by one at a time.
    reviewing: HashMap<TurnId, Arc<tokio::sync::Mutex<()>>>,
    /// Turns in a project's replica, newest first.
    shown: HashMap<ProjectId, VecDeque<TurnId>>,
    /// Who was last seen editing from outside, by document and presence.
    outside: HashMap<(DocumentId, String), TurnId>,
}

/// An agent's place in a project.
#[derive(Default)]
struct Seat {
    waiting: VecDeque<Queued>,
    /// Places in the queue held for turns that are being recorded.
    held: usize,
    /// Whether a task works the queue off.
    works: bool,
}

/// How a turn is stopped, and how its end is known.
#[derive(Clone)]
struct Handle {
    stop: CancellationToken,
    over: CancellationToken,
}

impl Supervisor {
    /// A supervisor without turns.
    ///
    /// Turns run as tasks of `tasks` and are interrupted by `stop`. They still write their last words after that,
    /// so rooms and store stop only once `tasks` is empty.
    pub fn new(options: SupervisorOptions, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { options, tasks, stop, state: Mutex::default() }) }
    }

    /// The agents of every project.
    pub fn agents(&self) -> Vec<rest::Agent> {
        let AgentCard { id, name, color, model, demo } = self.shared.options.agent.clone();
        vec![rest::Agent { id, name, color, model, demo }]
    }

    /// Records a turn and puts it into its agent's queue. Answers once it is recorded, long before it is done.
    pub async fn start(&self, start: StartTurn) -> Result<rest::Turn, AgentError> {
        let shared = &self.shared;
        let options = &shared.options;
        let prompt = start.prompt.trim();
        let chars = prompt.chars().count();
        if chars == 0 {
            return Err(AgentError::BadRequest("the prompt is empty".into()));
        }
        if chars > limits::PROMPT_CHARS {
            return Err(AgentError::PromptTooLong { chars, limit: limits::PROMPT_CHARS });
        }
        if let Some(agent) = start.agent.filter(|agent| *agent != options.agent.id) {
            return Err(AgentError::AgentNotFound(agent));
        }
        let turns = Turns::of(&options.store, &options.rooms, start.project).await?;
        if let Some(id) = start.document {
            let document = options.store.document(id).await?.filter(|document| {
                document.project == start.project
                    && document.kind == DocumentKind::Text
                    && document.deleted_at.is_none()
            });
            document.ok_or(AgentError::DocumentNotFound(id))?;
        }
        let selection = match (start.document, start.selection) {
            (_, None) => None,
            (None, Some(_)) => {
                return Err(AgentError::BadRequest("a selection needs the document it is in".into()));
            }
            (Some(document), Some(selection)) => {
                let (_, base) = context::read_room(&options.rooms, document).await?;
                selection::hold(base, &selection)?
            }
        };

        let place = Place::hold(shared, start.project)?;
        let id = TurnId::from_uuid(options.ids.uuid());
        let record = TurnRecord {
            id,
            project: start.project,
            agent: options.agent.id.clone(),
            by: start.member,
            prompt: prompt.to_owned(),
            status: TurnStatus::Queued,
            documents: start.document.into_iter().collect(),
            answer: String::new(),
            usage: None,
            error: None,
            review: Review::Open,
            node: options.node,
            created_at: options.clock.now(),
            finished_at: None,
        };
        let handle = Handle { stop: shared.stop.child_token(), over: CancellationToken::new() };
        let queued = Queued { record, open: start.document, selection, turns, stop: handle.stop.clone() };
        let supervisor = self.clone();
        // A task of its own: whoever asks may hang up, and then a recorded turn must still reach its agent.
        let task = shared.tasks.spawn(async move { supervisor.enqueue(place, queued, handle).await });
        task.await.map_err(|_| AgentError::Stopping)?
    }

    /// Records a turn, then puts it into its place.
    async fn enqueue(&self, place: Place, queued: Queued, handle: Handle) -> Result<rest::Turn, AgentError> {
        let shared = &self.shared;
        let record = queued.record.clone();
        let removed = self.make_room(record.project).await?;
        // Known before it is recorded, so that whoever sees it can stop it.
        shared.state.lock().handles.insert(record.id, handle);
        let mut edits = replica::created(&record);
        edits.extend(removed.iter().map(|turn| replica::removed(*turn)));
        let changes = vec![Change::CreateTurn(Box::new(record.clone()))];
        if let Err(error) =
            queued.turns.commit(ReplicaWrite { changes, edits, ..ReplicaWrite::default() }).await
        {
            let mut state = shared.state.lock();
            state.handles.remove(&record.id);
            if let Some(shown) = state.shown.get_mut(&record.project) {
                shown.extend(removed);
            }
            return Err(error);
        }
        tracing::info!(
            turn.id = %record.id, project.id = %record.project, "turn `{}` waits for its agent", record.id
        );
        place.take(queued);
        Ok(replica::shown(record, Vec::new()))
    }

    /// Stops a turn, or takes it out of the queue. When this returns, nothing more is written.
    pub async fn interrupt(&self, project: ProjectId, turn: TurnId) -> Result<rest::Turn, AgentError> {
        let record = self.record(project, turn).await?;
        if record.status.is_final() {
            return Err(AgentError::TurnNotRunning(turn));
        }
        let (handle, waiting) = {
            let mut state = self.shared.state.lock();
            let waiting = state.seats.get_mut(&project).and_then(|seat| {
                let at = seat.waiting.iter().position(|queued| queued.record.id == turn)?;
                seat.waiting.remove(at)
            });
            (state.handles.get(&turn).cloned(), waiting)
        };
        if let Some(handle) = handle {
            handle.stop.cancel();
            if let Some(queued) = waiting {
                let supervisor = self.clone();
                self.shared.tasks.spawn(async move { supervisor.carry_out(queued).await });
            }
            handle.over.cancelled().await;
        } else {
            // It ended since it was read, or belongs to a server that is gone.
            let record = self.record(project, turn).await?;
            if record.status.is_final() {
                return Err(AgentError::TurnNotRunning(turn));
            }
            self.mark_interrupted(&record).await?;
        }
        self.get(project, turn).await
    }

    /// Stops the turns these people asked for in a project, for they may ask for none any more.
    ///
    /// All are told to stop before the first is waited for; one that cannot be stopped keeps none of the others.
    pub async fn interrupt_all_of(&self, project: ProjectId, members: &[MemberId]) -> Result<(), AgentError> {
        let turns = self.shared.options.store.unfinished_turns().await?;
        let theirs = turns.iter().filter(|turn| turn.project == project && members.contains(&turn.by));
        let stopped = join_all(theirs.map(|turn| self.interrupt(project, turn.id))).await;
        for outcome in stopped {
            match outcome {
                // It ended by itself.
                Ok(_) | Err(AgentError::TurnNotRunning(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A turn with its hunks.
    pub async fn get(&self, project: ProjectId, turn: TurnId) -> Result<rest::Turn, AgentError> {
        let record = self.record(project, turn).await?;
        let hunks = self.shared.options.store.hunks_of(turn).await?;
        Ok(replica::shown(record, hunks))
    }

    /// Up to `limit` turns of a project, newest first; with `before`, only older ones.
    pub async fn list(
        &self,
        project: ProjectId,
        limit: u32,
        before: Option<TurnId>,
    ) -> Result<Vec<rest::Turn>, AgentError> {
        let store = &self.shared.options.store;
        let mut turns = Vec::new();
        for record in store.turns_of(project, limit, before).await? {
            let hunks = store.hunks_of(record.id).await?;
            turns.push(replica::shown(record, hunks));
        }
        Ok(turns)
    }

    /// What a turn did, unit by unit: its hunks in each document, with what they inserted and deleted.
    pub async fn changes(&self, project: ProjectId, turn: TurnId) -> Result<rest::TurnChanges, AgentError> {
        self.record(project, turn).await?;
        let store = &self.shared.options.store;
        let mut by_document: BTreeMap<DocumentId, Vec<HunkRecord>> = BTreeMap::new();
        for hunk in store.hunks_of(turn).await? {
            if let (Some(document), true) = (hunk.document, hunk.state != HunkState::Missed) {
                by_document.entry(document).or_default().push(hunk);
            }
        }
        let mut documents = Vec::with_capacity(by_document.len());
        for (id, hunks) in by_document {
            let Some(document) = store.document(id).await? else { continue };
            let entries =
                store.ledger_of_document(id).await?.into_iter().map(|stored| stored.entry).collect();
            let mut done = ledger::changes(&Ledger::new(entries), turn);
            let hunks = hunks.into_iter().map(|hunk| {
                let HunkUnits { inserted, deleted } = done.remove(&hunk.hunk).unwrap_or_default();
                let units = |UnitRange { client, clock, length }| rest::Units { client, clock, length };
                let deleted = deleted.into_iter().map(|(range, text)| {
                    let UnitRange { client, clock, length } = range;
                    rest::DeletedUnits { client, clock, length, text }
                });
                rest::HunkChanges {
                    id: hunk.hunk,
                    state: hunk.state,
                    inserted: inserted.into_iter().map(units).collect(),
                    deleted: deleted.collect(),
                }
            });
            documents.push(rest::DocumentChanges {
                document: id,
                path: document.path,
                hunks: hunks.collect(),
            });
        }
        Ok(rest::TurnChanges { turn, documents })
    }

    /// Marks the turns a dead server left behind as interrupted, and tells how many. Called once, before the
    /// first turn is started.
    ///
    /// A turn that cannot be marked is left for the next start, and the log says so.
    pub async fn recover(&self) -> Result<usize, AgentError> {
        let mut marked = 0;
        for record in self.shared.options.store.unfinished_turns().await? {
            if self.shared.state.lock().handles.contains_key(&record.id) {
                continue;
            }
            match self.mark_interrupted(&record).await {
                Ok(()) => marked += 1,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(turn.id = %record.id, error, "turn `{}` could not be marked", record.id);
                }
            }
        }
        Ok(marked)
    }

    async fn record(&self, project: ProjectId, turn: TurnId) -> Result<TurnRecord, AgentError> {
        let record = self.shared.options.store.turn(turn).await?;
        record.filter(|record| record.project == project).ok_or(AgentError::TurnNotFound(turn))
    }

    async fn mark_interrupted(&self, record: &TurnRecord) -> Result<(), AgentError> {
        self.mark(record, TurnStatus::Interrupted, None).await
    }

    async fn mark(
        &self,
        record: &TurnRecord,
        status: TurnStatus,
        error: Option<TurnError>,
    ) -> Result<(), AgentError> {
        let options = &self.shared.options;
        let turns = Turns::of(&options.store, &options.rooms, record.project).await?;
        let update = TurnUpdate {
            status: Some(status),
            error,
            finished_at: Some(options.clock.now()),
            ..TurnUpdate::default()
        };
        let edits: Vec<ReplicaEdit> = replica::updated(record.id, &update);
        let changes = vec![Change::UpdateTurn { id: record.id, update: Box::new(update) }];
        turns.commit(ReplicaWrite { changes, edits, ..ReplicaWrite::default() }).await
    }

    /// Whether a turn is in its project's replica: older ones are read over HTTP.
    async fn is_shown(&self, project: ProjectId, turn: TurnId) -> Result<bool, AgentError> {
        self.know_shown(project).await?;
        Ok(self.shared.state.lock().shown.get(&project).is_some_and(|shown| shown.contains(&turn)))
    }

    /// The turns that leave the replica so that one more fits.
    async fn make_room(&self, project: ProjectId) -> Result<Vec<TurnId>, AgentError> {
        self.know_shown(project).await?;
        let mut state = self.shared.state.lock();
        let shown = state.shown.entry(project).or_default();
        let mut removed = Vec::new();
        while shown.len() >= limits::TURNS_SHOWN {
            removed.extend(shown.pop_back());
        }
        Ok(removed)
    }

    async fn know_shown(&self, project: ProjectId) -> Result<(), AgentError> {
        let is_known = self.shared.state.lock().shown.contains_key(&project);
        if !is_known {
            let limit = u32::try_from(limits::TURNS_SHOWN).unwrap_or(u32::MAX);
            let turns = self.shared.options.store.turns_of(project, limit, None).await?;
            let mut state = self.shared.state.lock();
            if state.shown.len() >= PROJECTS_REMEMBERED {
                state.shown.clear();
            }
            state.shown.entry(project).or_insert_with(|| turns.iter().map(|turn| turn.id).collect());
        }
        Ok(())
    }

    /// Works off a queue until it is empty.
    async fn work_off(self, project: ProjectId) {
        loop {
            let next = {
                let mut state = self.shared.state.lock();
                let Some(seat) = state.seats.get_mut(&project) else { return };
                let next = seat.waiting.pop_front();
                if next.is_none() {
                    seat.works = false;
                    if seat.held == 0 {
                        state.seats.remove(&project);
                    }
                }
                next
            };
            let Some(queued) = next else { return };
            self.carry_out(queued).await;
        }
    }

    /// Runs one turn as a task of its own, and makes its end known.
    async fn carry_out(&self, queued: Queued) {
        let record = queued.record.clone();
        let span = tracing::info_span!("turn", turn.id = %record.id, project.id = %record.project);
        let task = self.shared.tasks.spawn(work::work(self.shared.clone(), queued).instrument(span));
        if task.await.is_err() {
            tracing::error!(turn.id = %record.id, "turn `{}` ended by a fault of ours", record.id);
            self.clean_up(&record).await;
        }
        let handle = self.shared.state.lock().handles.remove(&record.id);
        if let Some(handle) = handle {
            handle.over.cancel();
        }
    }

    /// After a turn's task died: the agent goes, and the turn has failed.
    async fn clean_up(&self, record: &TurnRecord) {
        let options = &self.shared.options;
        for room in options.rooms.rooms_of(record.project) {
            room.set_agent(&options.agent.id, None).await;
        }
        let error =
            TurnError { code: "internal".into(), detail: "the turn ended by a fault of the server".into() };
        if let Err(error) = self.mark(record, TurnStatus::Failed, Some(error)).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(turn.id = %record.id, error, "turn `{}` could not be marked", record.id);
        }
    }
}

/// A place in a queue, held for a turn that is being recorded; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    project: ProjectId,
}

impl Place {
    fn hold(shared: &Arc<Shared>, project: ProjectId) -> Result<Self, AgentError> {
        if shared.stop.is_cancelled() {
            return Err(AgentError::Stopping);
        }
        let mut state = shared.state.lock();
        let seat = state.seats.entry(project).or_default();
        // The one that is taken up at once waits for nobody.
        let waits = seat.waiting.len() + seat.held;
        let most = limits::TURNS_QUEUED + usize::from(!seat.works);
        if waits >= most {
            return Err(AgentError::QueueFull(waits));
        }
        seat.held += 1;
        Ok(Self { shared: shared.clone(), project })
    }

    /// Puts the turn into its place, and sees to it that somebody works the queue off.
    fn take(self, queued: Queued) {
        let (shared, project) = (self.shared.clone(), self.project);
        let begins = {
            let mut state = shared.state.lock();
            let turn = queued.record.id;
            if let Some(shown) = state.shown.get_mut(&project) {
                shown.push_front(turn);
            }
            let seat = state.seats.entry(project).or_default();
            // Stopped while it was recorded: nobody need wait for what comes before it.
            if queued.stop.is_cancelled() {
                seat.waiting.push_front(queued);
            } else {
                seat.waiting.push_back(queued);
            }
            !std::mem::replace(&mut seat.works, true)
        };
        drop(self);
        if begins {
            let supervisor = Supervisor { shared: shared.clone() };
            shared.tasks.spawn(supervisor.work_off(project));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Some(seat) = state.seats.get_mut(&self.project) {
            seat.held -= 1;
            if seat.held == 0 && seat.waiting.is_empty() && !seat.works {
                state.seats.remove(&self.project);
            }
        }
    }
}

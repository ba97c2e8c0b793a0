//! One turn, from its agent taking it up to its last commit.

use std::sync::Arc;

use ensemble_model::Usage;
use ensemble_protocol::id::DocumentId;
use ensemble_protocol::rest::{self, TurnStatus};
use ensemble_store::{Change, TurnError, TurnRecord, TurnUpdate};
use ensemble_sync::anchor::Anchor;
use ensemble_sync::room::{ReplicaWrite, Room, Telling};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::apply::{self, Applied, Asked, End, Job};
use crate::context::{self, HeldSelection, Question};
use crate::error::AgentError;
use crate::policy::{Entry, Policy};
use crate::replica::{self, Turns};
use crate::supervisor::Shared;
use crate::turn::{Step, Turn};

/// A turn that waits for its agent.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) record: TurnRecord,
    pub(crate) open: Option<DocumentId>,
    pub(crate) selection: Option<HeldSelection>,
    pub(crate) turns: Turns,
    pub(crate) stop: CancellationToken,
}

/// Works a turn off and records how it ended.
pub(crate) async fn work(shared: Arc<Shared>, queued: Queued) {
    let turn = Turn::new(queued.record.id);
    let (turn, applied) = if queued.stop.is_cancelled() {
        (turn, Applied::without_answer(End::Interrupted, queued.record.documents.clone()))
    } else {
        let turn = turn.step(Step::Begin).expect("a turn that waits may begin");
        let seen = appear(&shared, &queued).await;
        let applied = answer(&shared, &queued, seen.as_ref()).await;
        if let Some(room) = seen {
            room.set_agent(&shared.options.agent.id, None).await;
        }
        (turn, applied)
    };
    let step = match &applied.end {
        End::Done => Step::Finish,
        End::Interrupted => Step::Interrupt,
        End::Failed(_) => Step::Fail,
    };
    let turn = turn.step(step).expect("a turn that has not ended may end");
    if let Err(error) = finish(&shared, &queued, turn, applied).await {
        // The turn stays unfinished in the log, and is marked interrupted when the server starts again.
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the end of turn `{}` was not recorded",
            turn.id
        );
    }
}

/// Shows the agent in the open document, where the person who asked is looking.
async fn appear(shared: &Shared, queued: &Queued) -> Option<Room> {
    let room = shared.options.rooms.open(queued.open?).await.ok()?;
    let cursor = match &queued.selection {
        Some(held) => context::anchors(&held.base, &held.range),
        None => (Anchor::Start, Anchor::Start),
    };
    let presence =
        apply::presence(&shared.options.agent, queued.record.id, "reading", Some(cursor), Telling::Soon);
    room.set_agent(&shared.options.agent.id, Some(presence)).await;
    Some(room)
}

/// Shows the model what it needs, and applies its answer.
async fn answer(shared: &Shared, queued: &Queued, seen: Option<&Room>) -> Applied {
    let without = |end| Applied::without_answer(end, queued.record.documents.clone());
    let options = &shared.options;
    let prepared = tokio::select! {
        biased;
        () = queued.stop.cancelled() => return without(End::Interrupted),
        prepared = prepare(shared, queued) => prepared,
    };
    let (policy, entries, context) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return without(internal(&error)),
    };
    let documents: Vec<DocumentId> =
        context.shown.iter().filter(|shown| shown.writable).map(|shown| shown.document).collect();

    let update = TurnUpdate {
        status: Some(TurnStatus::Running),
        documents: Some(documents.clone()),
        ..TurnUpdate::default()
    };
    let begin = ReplicaWrite {
        edits: replica::updated(queued.record.id, &update),
        changes: vec![Change::UpdateTurn { id: queued.record.id, update: Box::new(update) }],
        ..ReplicaWrite::default()
    };
    let asked = Arc::new(Asked {
        provider: options.provider.clone(),
        request: context.request.clone(),
        prompt: queued.record.prompt.clone(),
        open: queued.open,
        selection: queued.selection.clone(),
    });
    // The model need not wait for the disk: what it writes is committed after this in any case.
    let call = options.provider.call(context.request, queued.stop.clone());
    let (begun, called) =
        tokio::join!(queued.turns.commit(begin), call.instrument(tracing::info_span!("call")));
    let without = |end| Applied::without_answer(end, documents.clone());
    if let Err(error) = begun {
        return without(internal(&error));
    }
    let events = match called {
        Ok(events) => events,
        Err(error) => return without(apply::failed(&error)),
    };
    let job = Job {
        turn: queued.record.id,
        project: queued.record.project,
        member: queued.record.by,
        agent: options.agent.clone(),
        stop: queued.stop.clone(),
        store: options.store.clone(),
        rooms: options.rooms.clone(),
        turns: queued.turns.clone(),
        files: options.documents.clone(),
        policy,
        entries,
        documents: documents.clone(),
        answering: context.answering,
        asked,
    };
    apply::apply(job, &context.shown, seen.map(Room::document), events).await
}

/// What the prompt allows, and what the model is shown.
async fn prepare(
    shared: &Shared,
    queued: &Queued,
) -> Result<(Policy, Vec<Entry>, context::Context), AgentError> {
    let options = &shared.options;
    let entries: Vec<Entry> = options
        .store
        .documents_of(queued.record.project)
        .await?
        .into_iter()
        .map(|document| Entry { id: document.id, path: document.path })
        .collect();
    let policy = Policy::new(&queued.record.prompt, queued.open, &entries);
    let question = Question {
        project: queued.record.project,
        prompt: &queued.record.prompt,
        open: queued.open,
        selection: queued.selection.as_ref(),
        documents: &entries,
        policy: &policy,
        capability: options.provider.capability(),
    };
    let context = context::build(&question, &options.rooms).await;
    Ok((policy, entries, context))
}

/// Records how a turn ended.
async fn finish(shared: &Shared, queued: &Queued, turn: Turn, applied: Applied) -> Result<(), AgentError> {
    let id = turn.id;
    let error = match applied.end {
        End::Failed(error) => Some(error),
        End::Done | End::Interrupted => None,
    };
    if let Some(error) = &error {
        tracing::warn!(code = %error.code, "turn `{id}` failed");
    } else {
        tracing::info!("turn `{id}` is {}", turn.status.as_str());
    }
    let update = TurnUpdate {
        status: Some(turn.status),
        answer: Some(applied.answer),
        documents: Some(applied.documents),
        usage: applied.usage.map(usage),
        error,
        finished_at: Some(shared.options.clock.now()),
        review: None,
    };
    let mut write = ReplicaWrite::default();
    if !applied.untold.is_empty() {
        write.edits.push(replica::answered(id, &applied.untold));
    }
    write.edits.extend(applied.hunks.iter().map(replica::hunk));
    write.edits.extend(replica::updated(id, &update));
    write.changes.extend(applied.hunks.into_iter().map(|record| Change::PutHunk(Box::new(record))));
    write.changes.push(Change::UpdateTurn { id, update: Box::new(update) });
    queued.turns.commit(write).await
}

fn internal(error: &AgentError) -> End {
    if matches!(error, AgentError::Stopping) {
        return End::Interrupted;
    }
    tracing::error!(error = error as &dyn std::error::Error, "a turn could not begin");
    End::Failed(TurnError { code: "internal".into(), detail: "the turn could not begin".into() })
}

fn usage(usage: Usage) -> serde_json::Value {
    let usage = rest::Usage {
        input_tokens: usage.input_tokens,
        cached_tokens: usage.cached_input_tokens,
        output_tokens: usage.output_tokens,
    };
    serde_json::to_value(usage).expect("three numbers are JSON")
}

impl Applied {
    /// What came of a turn whose model said nothing.
    fn without_answer(end: End, documents: Vec<DocumentId>) -> Self {
        Self { end, answer: String::new(), untold: String::new(), hunks: Vec::new(), usage: None, documents }
    }
}

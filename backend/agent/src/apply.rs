//! From a model's stream to settled edits in rooms.
//!
//! The model's text goes through a [`EditStream`]; what settles waits in a [`DocumentWriter`] per document and
//! is written in one transaction per flush, the first one at once. What became of each hunk, and the answer, are
//! mirrored into the replica of the turns. Between any two events the turn may be stopped: then nothing more is
//! handed to a room, what waits is dropped, and the hunks this cuts say so.

mod again;
mod files;
mod flush;
mod hunks;
mod now;
mod read;
mod writer;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ensemble_edit::{EditStream, Miss, MissReason, PatchEvent, Utf16Offset};
use ensemble_model::{CallRequest, EventStream, InputItem, ModelError, ModelProvider, Usage};
use ensemble_protocol::id::{DocumentId, HunkId, MemberId, ProjectId, TurnId};
use ensemble_store::{HunkRecord, LedgerEntry, Store, TurnError};
use ensemble_sync::RoomError;
use ensemble_sync::anchor::Anchor;
use ensemble_sync::registry::RoomRegistry;
use ensemble_sync::room::{AgentPresence, ReviewWrite, Room, Telling, TurnWrite, Verdict, Written};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::context::{self, Answering, HeldSelection, ROOM_TRIES, Shown, Unfit};
use crate::documents::Documents;
use crate::error::AgentError;
use crate::policy::{Entry, NOT_PART_OF_TURN, Policy};
use crate::replica::Turns;
use crate::supervisor::AgentCard;
use again::NOT_ASKED_AGAIN;
use hunks::Hunks;
use writer::{Batch, DocumentWriter, Tally};

/// Text that may wait for rooms, in bytes over all documents, before the model is read no further: a minute of
/// output at a thousand tokens a second. The connection then fills up and the model waits.
const WAITING_BYTES: usize = 256 * 1024;
/// How often the answer and the hunks are mirrored into the replica of the turns.
const MIRROR_INTERVAL: Duration = Duration::from_millis(100);
/// Hunks in one commit of the replica; a rename over a large project has thousands.
const MIRRORED_HUNKS: usize = 256;
/// What is said of a hunk the end came in the middle of.
const CUT_OFF: &str = "the turn ended before this was complete";
/// Said of a hunk of which a part was gone.
pub(crate) const PART_GONE: &str = "somebody had changed a part of it already";
/// Said of a hunk that left out text, because what it was to replace was replaced already.
pub(crate) const YIELDED: &str = "somebody has replaced this text meanwhile, and theirs stays";
/// What begins the reason of a hunk that moved a document; the new path follows.
pub(crate) const MOVED_TO: &str = "moved to ";
/// The reason of a hunk that deleted a document.
pub(crate) const DELETED: &str = "deleted";

/// What a turn's answer is applied with.
pub(crate) struct Job {
    pub(crate) turn: TurnId,
    pub(crate) project: ProjectId,
    pub(crate) member: MemberId,
    pub(crate) agent: AgentCard,
    pub(crate) stop: CancellationToken,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rooms: RoomRegistry,
    pub(crate) turns: Turns,
    pub(crate) files: Arc<dyn Documents>,
    pub(crate) policy: Policy,
    pub(crate) entries: Vec<Entry>,
    /// Documents the turn may write in.
    pub(crate) documents: Vec<DocumentId>,
    pub(crate) answering: Answering,
    pub(crate) asked: Arc<Asked>,
}

/// What was asked, and whom: to ask again.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) provider: Arc<dyn ModelProvider>,
    pub(crate) request: CallRequest,
    pub(crate) prompt: String,
    pub(crate) open: Option<DocumentId>,
    pub(crate) selection: Option<HeldSelection>,
}

/// How a turn's work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Interrupted,
    Failed(TurnError),
}

/// What came of an answer.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) end: End,
    /// Everything the model said beside its edits.
    pub(crate) answer: String,
    /// The part of it the replica does not have yet.
    pub(crate) untold: String,
    /// Hunks the replica does not have as they are now.
    pub(crate) hunks: Vec<HunkRecord>,
    pub(crate) usage: Option<Usage>,
    /// Documents the turn may write in, those it made included.
    pub(crate) documents: Vec<DocumentId>,
}

/// Something that was under way and is over.
enum Finished {
    Wrote { writer: usize, batch: Batch, result: Result<Written, RoomError> },
    Mirrored { sent: usize, hunks: Vec<HunkId>, result: Result<(), AgentError> },
    Seen { writer: usize },
}

type UnderWay = FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>;

/// Which output of the model a piece of text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Text,
    Tool(u32),
}

/// Which answer of the model is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    /// The second, which has said nothing yet.
    SecondInSilence,
    Second,
}

struct Applier {
    job: Job,
    stream: Option<EditStream>,
    writers: Vec<DocumentWriter>,
    /// Writers by the path the patch names them by.
    paths: HashMap<String, usize>,
    hunks: Hunks,
    /// Documents of hunks, to find the writer of those that end.
    writer_of: HashMap<HunkId, usize>,
    answer: String,
    answer_chars: usize,
    /// Bytes the model has said in this answer, also those that are kept nowhere.
    said_bytes: usize,
    /// Bytes of the answer the replica has.
    told: usize,
    mirroring: bool,
    mirror_due: Instant,
    documents_are_new: bool,
    source: Option<Source>,
    ends_line: bool,
    /// Calls of the patch tool, and how much of their input was taken.
    inputs: HashMap<u32, String>,
    made: usize,
    /// What is said of the first part of this answer that could not be read.
    malformed: Option<String>,
    /// Hunks the end came in the middle of.
    cut: Vec<(HunkId, Arc<str>)>,
    usage: Option<Usage>,
    /// Hunks that were missed and could be mended.
    unfit: Vec<Unfit>,
    /// What the model said, to go on from.
    output: Vec<InputItem>,
    which: Try,
    /// The number before the first hunk of this answer, and how many the answer has.
    first_hunk: u32,
    hunks_of_answer: u32,
    /// Hunks that were looked for in a text as it is now.
    looked_for_now: usize,
    under_way: UnderWay,
    failure: Option<End>,
}

/// Applies an answer until it ends or the turn is stopped.
///
/// When this returns nothing more is written, and the agent is seen in no document it wrote in.
pub(crate) async fn apply(
    job: Job,
    shown: &[Shown],
    sight: Option<DocumentId>,
    events: EventStream,
) -> Applied {
    let now = Instant::now();
    let texts = context::texts(shown);
    let writers: Vec<DocumentWriter> = shown
        .iter()
        .filter(|document| document.writable)
        .map(|document| {
            let (room, base) = (document.room.clone(), document.base.clone());
            let mut writer =
                DocumentWriter::new(document.document, document.path.as_str().into(), room, base, now);
            writer.sight.seen = sight == Some(document.document);
            writer
        })
        .collect();
    let paths = writers.iter().enumerate().map(|(at, writer)| (writer.path.to_string(), at)).collect();
    let applier = Applier {
        hunks: Hunks::new(job.turn),
        stream: Some(job.answering.stream(texts)),
        job,
        writers,
        paths,
        writer_of: HashMap::new(),
        answer: String::new(),
        answer_chars: 0,
        said_bytes: 0,
        told: 0,
        mirroring: false,
        mirror_due: now,
        documents_are_new: false,
        source: None,
        ends_line: true,
        inputs: HashMap::new(),
        made: 0,
        malformed: None,
        cut: Vec::new(),
        usage: None,
        unfit: Vec::new(),
        output: Vec::new(),
        which: Try::First,
        first_hunk: 0,
        hunks_of_answer: 0,
        looked_for_now: 0,
        under_way: FuturesUnordered::new(),
        failure: None,
    };
    applier.run(events).await
}

impl Applier {
    async fn run(mut self, events: EventStream) -> Applied {
        let mut end = self.attempt(events).await;
        if end == End::Done
            && let Some(again) = self.try_again().await
        {
            end = again;
        }
        self.settle_rest().await;
        self.disappear().await;

        let hunks = self.hunks.take_dirty(usize::MAX);
        let answer = self.answer.trim_end().to_owned();
        let untold = answer.get(self.told..).unwrap_or_default().to_owned();
        let documents = self.job.documents;
        Applied { end, answer, untold, hunks, usage: self.usage, documents }
    }

    /// Reads an answer to its end, and writes all of it unless the turn is stopped.
    async fn attempt(&mut self, mut events: EventStream) -> End {
        let mut end = self.read(&mut events).await;
        // Nothing more is read; dropping the stream also tells the model's server.
        drop(events);
        let stream = self.stream.take().expect("every answer has a patch stream of its own");
        let last = if end == End::Done { stream.finish() } else { stream.abort() };
        for event in last {
            self.handle(event).await;
        }
        if end != End::Interrupted {
            if let Some(stopped) = self.drain().await {
                end = stopped;
            } else if let (End::Done, Some(failure)) = (&end, self.failure.take()) {
                end = failure;
            }
        }
        end
    }

    /// Reads the model's events until they end, writing what settles.
    async fn read(&mut self, events: &mut EventStream) -> End {
        loop {
            if let Some(failure) = self.failure.take() {
                return failure;
            }
            self.flush(Instant::now());
            let wake = self.next_due();
            let may_read = self.writers.iter().map(DocumentWriter::waiting).sum::<usize>() < WAITING_BYTES;
            tokio::select! {
                biased;
                () = self.job.stop.cancelled() => return End::Interrupted,
                Some(finished) = self.under_way.next(), if !self.under_way.is_empty() => self.finished(finished),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
                event = events.next(), if may_read => {
                    let Some(event) = event else { return failed(&ModelError::Closed) };
                    if let Some(end) = self.model_said(event).await {
                        return end;
                    }
                }
            }
        }
    }

    /// Writes what is settled and waits until it is written. Answers with the end of the turn when it was
    /// stopped meanwhile.
    async fn drain(&mut self) -> Option<End> {
        loop {
            self.flush(Instant::now());
            let waits = self.writers.iter().any(|writer| writer.is_waiting() || writer.is_writing());
            if !waits || self.failure.is_some() {
                return None;
            }
            let wake = self.next_due();
            tokio::select! {
                biased;
                () = self.job.stop.cancelled() => return Some(End::Interrupted),
                Some(finished) = self.under_way.next(), if !self.under_way.is_empty() => self.finished(finished),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Drops what still waits, and waits for what was handed over already.
    async fn settle_rest(&mut self) {
        for writer in &mut self.writers {
            let path = writer.path.clone();
            self.cut.extend(writer.drop_all().into_iter().map(|hunk| (hunk, path.clone())));
        }
        while let Some(finished) = self.under_way.next().await {
            self.finished(finished);
        }
        for (hunk, path) in std::mem::take(&mut self.cut) {
            self.hunks.missed(hunk, self.document_at(&path), &path, CUT_OFF);
            self.hunks.remark(hunk, CUT_OFF);
        }
    }

    /// The agent leaves the documents it was seen in.
    async fn disappear(&mut self) {
        for writer in self.writers.iter().filter(|writer| writer.sight.seen) {
            writer.room.set_agent(&self.job.agent.id, None).await;
        }
    }

    async fn handle(&mut self, event: PatchEvent) {
        match event {
            PatchEvent::Prose(text) => self.say(&text),
            PatchEvent::FileBegan { .. } | PatchEvent::HunkDone { .. } => {}
            PatchEvent::HunkAimed { hunk, path, range, .. } => {
                if let Some(&at) = self.paths.get(&*path) {
                    let hunk = self.number(hunk);
                    self.writer_of.insert(hunk, at);
                    self.writers[at].aim(hunk, &range);
                }
            }
            PatchEvent::Edit { hunk, path, delete, insert_at, insert } => {
                self.edit(self.number(hunk), &path, delete, insert_at, insert);
            }
            PatchEvent::HunkMissed(missed) if self.place_now(&missed).await => {}
            PatchEvent::HunkMissed(missed) => {
                let (hunk, path) = (self.number(missed.hunk), missed.path);
                let reason = self.reason(&path, &missed.miss);
                if let Some(&at) = self.writer_of.get(&hunk) {
                    self.writers[at].drop_unwritten(hunk);
                }
                let document = self.document_at(&path);
                self.note_unfit(hunk, document, &missed.miss);
                self.hunks.missed(hunk, document, &path, &reason);
            }
            PatchEvent::HunkReverted(missed) => {
                let (hunk, path) = (self.number(missed.hunk), missed.path);
                let Some(&at) = self.writer_of.get(&hunk) else { return };
                self.note_unfit(hunk, Some(self.writers[at].document), &missed.miss);
                let reason = missed.miss.message;
                if self.writers[at].take_back(hunk) {
                    self.hunks.contradict(hunk, reason);
                } else {
                    let document = self.writers[at].document;
                    self.hunks.missed(hunk, Some(document), &path, &reason);
                }
            }
            // What is under way decides whether it was written in part or not at all.
            PatchEvent::HunkIncomplete { hunk, path, .. } => self.cut.push((self.number(hunk), path)),
            PatchEvent::AddFile { hunk, path, .. }
            | PatchEvent::DeleteFile { hunk, path }
            | PatchEvent::MoveFile { hunk, from: path, .. }
                if self.which != Try::First =>
            {
                let document = self.document_at(&path);
                self.hunks.missed(self.number(hunk), document, &path, NOT_ASKED_AGAIN);
            }
            PatchEvent::AddFile { hunk, path, text } => self.add_file(self.number(hunk), &path, text).await,
            PatchEvent::DeleteFile { hunk, path } => self.delete_file(self.number(hunk), &path).await,
            PatchEvent::MoveFile { hunk, from, to } => self.move_file(self.number(hunk), &from, &to).await,
            PatchEvent::Malformed { line, message } => {
                self.malformed
                    .get_or_insert_with(|| format!("line {line} of the answer could not be read: {message}"));
            }
            PatchEvent::Finished(summary) => {
                self.hunks_of_answer = summary.hunks;
                // The hunks that could be read do not say that something beside them was lost.
                if let Some(mut reason) = self.malformed.take() {
                    if let Some(more) = summary.malformed.checked_sub(1).filter(|more| *more > 0) {
                        reason = format!("{reason}; {more} more could not be read either");
                    }
                    let hunk = self.number(ensemble_edit::HunkId(summary.hunks));
                    self.hunks_of_answer += 1;
                    self.hunks.missed(hunk, None, "", &reason);
                }
            }
        }
    }

    fn edit(
        &mut self,
        hunk: HunkId,
        path: &Arc<str>,
        delete: std::ops::Range<Utf16Offset>,
        at: Utf16Offset,
        insert: String,
    ) {
        let Some(&writer) = self.paths.get(&**path) else {
            let document = self.document_at(path);
            self.hunks.missed(hunk, document, path, NOT_PART_OF_TURN);
            return;
        };
        self.writer_of.insert(hunk, writer);
        self.writers[writer].push(hunk, delete, at, insert);
    }

    fn finished(&mut self, finished: Finished) {
        match finished {
            Finished::Wrote { writer, batch, result: Ok(written) } => {
                self.writers[writer].finish_write(batch, &written, &mut self.hunks);
            }
            Finished::Wrote { writer, batch, result: Err(error) } => {
                let writer = &mut self.writers[writer];
                let hunks = writer.fail_write(batch);
                let (document, path) = (writer.document, writer.path.clone());
                let reason = match &error {
                    RoomError::NotFound(_) => "the document was deleted",
                    _ => CUT_OFF,
                };
                let gone = matches!(error, RoomError::NotFound(_));
                let lost = if gone { writer.drop_all() } else { Vec::new() };
                for hunk in hunks.into_iter().chain(lost) {
                    self.hunks.missed(hunk, Some(document), &path, reason);
                    self.hunks.remark(hunk, reason);
                }
                if gone {
                    self.paths.remove(&*path);
                } else {
                    self.fail(&error);
                }
            }
            Finished::Mirrored { sent, hunks, result } => {
                self.mirroring = false;
                if let Err(error) = result {
                    // The turn's last commit says it again.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the turn could not be mirrored"
                    );
                    self.told -= sent;
                    self.hunks.untold(hunks);
                    self.documents_are_new = true;
                    self.mirror_due = Instant::now() + MIRROR_INTERVAL;
                }
            }
            Finished::Seen { writer } => self.writers[writer].sight.telling = false,
        }
    }

    /// Hunks are counted from 0 within a model's answer, and from 1 within a turn.
    const fn number(&self, hunk: ensemble_edit::HunkId) -> HunkId {
        HunkId(self.first_hunk + hunk.0 + 1)
    }

    fn fail(&mut self, error: &RoomError) {
        let end = match error {
            RoomError::TurnStopped | RoomError::Stopping => End::Interrupted,
            other => {
                tracing::error!(error = other as &dyn std::error::Error, "a document could not be written");
                End::Failed(TurnError {
                    code: "document_unavailable".into(),
                    detail: "a document could not be written".into(),
                })
            }
        };
        self.failure.get_or_insert(end);
    }

    /// The document at a path, whether or not the turn may touch it.
    fn document_at(&self, path: &str) -> Option<DocumentId> {
        self.job.entries.iter().find(|entry| entry.path == path).map(|entry| entry.id)
    }

    /// Why a hunk was missed, as people are told.
    fn reason(&self, path: &str, miss: &Miss) -> String {
        let is_there = self.document_at(path).is_some();
        if miss.reason == MissReason::NoSuchFile && self.which != Try::First {
            NOT_ASKED_AGAIN.to_owned()
        } else if miss.reason == MissReason::NoSuchFile && is_there {
            NOT_PART_OF_TURN.to_owned()
        } else {
            miss.message.clone()
        }
    }
}

/// Writes to a room. Where it closes under the write, the one that takes its place is written to, unless the
/// ledger has more than was known before: then the first one had committed it.
async fn write_to(
    job: &WriteJob,
    room: Room,
    write: TurnWrite,
    batch: &mut Batch,
) -> Result<Written, RoomError> {
    let document = room.document();
    if let Some(hunk) = batch.take_back {
        // All the hunk wrote is committed, since a document has one write under way at a time.
        return take_back(job, room, write, hunk, batch).await;
    }
    let mut room = room;
    let mut tries = 0;
    loop {
        if room.is_closed() {
            room = job.rooms.open(document).await?;
        }
        tries += 1;
        match room.write(write.clone()).await {
            Err(RoomError::Closed(_)) if tries < ROOM_TRIES => {
                room = job.rooms.open(document).await?;
                if Tally::of(&job.ledger(write.turn, document).await?) != job.known {
                    return Err(RoomError::Closed(document));
                }
            }
            outcome => return outcome,
        }
    }
}

/// Undoes a hunk while its turn is at work. Doing it twice is harmless.
async fn take_back(
    job: &WriteJob,
    room: Room,
    write: TurnWrite,
    hunk: HunkId,
    batch: &mut Batch,
) -> Result<Written, RoomError> {
    let document = room.document();
    let review = ReviewWrite {
        turn: write.turn,
        hunks: vec![hunk],
        verdict: Verdict::Undo,
        everything: false,
        member: write.member,
        changes: write.changes,
        stop: write.stop,
    };
    let mut room = room;
    let mut tries = 0;
    loop {
        tries += 1;
        match room.review(review.clone()).await {
            Err(RoomError::Closed(_)) if tries < ROOM_TRIES => room = job.rooms.open(document).await?,
            outcome => {
                batch.returned = outcome?.copies;
                return Ok(Written { version: None, edits: Vec::new() });
            }
        }
    }
}

/// What a write needs to be tried again safely.
struct WriteJob {
    store: Arc<dyn Store>,
    rooms: RoomRegistry,
    /// What the turn had done in the document before.
    known: Tally,
}

impl WriteJob {
    /// What a turn did in a document, as committed.
    async fn ledger(&self, turn: TurnId, document: DocumentId) -> Result<Vec<LedgerEntry>, RoomError> {
        let ledger = self.store.ledger_of_turn(turn).await;
        let ledger = ledger.map_err(|error| RoomError::Store { document, detail: error.to_string() })?;
        Ok(ledger
            .into_iter()
            .filter(|stored| stored.document == document)
            .map(|stored| stored.entry)
            .collect())
    }
}

/// The agent as others see it.
pub(crate) fn presence(
    agent: &AgentCard,
    turn: TurnId,
    status: &'static str,
    cursor: Option<(Anchor, Anchor)>,
    telling: Telling,
) -> AgentPresence {
    AgentPresence {
        agent: agent.id.clone(),
        name: agent.name.clone(),
        color: agent.color.clone(),
        turn,
        status,
        cursor,
        telling,
    }
}

/// A failure of the model, as the turn tells it.
pub(crate) fn failed(error: &ModelError) -> End {
    let code = match error {
        ModelError::Retryable { .. } => "model_unavailable",
        ModelError::RateLimited { .. } => "model_rate_limited",
        ModelError::Rejected { .. } => "model_rejected",
        ModelError::Unauthorized { .. } => "model_unauthorized",
        ModelError::ContextTooLong => "context_too_long",
        ModelError::Unreachable { .. } => "model_unreachable",
        ModelError::Closed => "model_closed",
        ModelError::TimedOut { .. } => "model_timed_out",
        ModelError::Malformed { .. } => "model_malformed",
        ModelError::Misconfigured { .. } => "model_misconfigured",
        ModelError::Interrupted => return End::Interrupted,
    };
    End::Failed(TurnError { code: code.into(), detail: error.to_string() })
}

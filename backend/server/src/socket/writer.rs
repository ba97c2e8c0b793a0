//! The one writer of a socket: keep-alive, what a client takes too slowly, and the goodbye.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use ensemble_protocol::error::CloseCode;
use ensemble_protocol::limits;
use ensemble_sync::peer::{Outbox, Outgoing};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug};

use super::{End, Note};
use crate::config::SocketTimes;
use crate::connections::Line;
use crate::state::AppState;

/// How long a closing socket may take for its last frames, and again the client for its own close.
const FAREWELL: Duration = Duration::from_secs(2);

/// The frame a protocol sends so that a quiet socket is not taken for a dead one.
pub(super) trait KeepAlive: Send + Sync + 'static {
    fn frame(&self) -> Option<Bytes>;
}

/// The one writer of a socket, at work as a task of its own: news for the socket wakes nothing else.
pub(super) struct Writer {
    task: JoinHandle<(SplitSink<WebSocket, Message>, End)>,
    halt: CancellationToken,
}

impl Writer {
    pub(super) fn start(
        sink: SplitSink<WebSocket, Message>,
        outbox: &Outbox,
        line: &Line,
        notes: mpsc::Sender<Note>,
        keep_alive: impl KeepAlive,
        state: &AppState,
    ) -> Self {
        let halt = CancellationToken::new();
        let writing = write(sink, outbox.clone(), line.clone(), notes, keep_alive, state.times, halt.clone());
        Self { task: tokio::spawn(writing.in_current_span()), halt }
    }

    /// Stops writing and closes the socket as the reader says, unless the writer came to an end before.
    pub(super) async fn finish(
        self,
        stream: SplitStream<WebSocket>,
        outbox: &Outbox,
        line: &Line,
        reader: End,
    ) {
        self.halt.cancel();
        let Ok((sink, writer)) = self.task.await else { return };
        close(sink, stream, outbox, line, if writer == End::Halted { &reader } else { &writer }).await;
    }
}

/// Takes batches from the outbox, feeds them all, flushes once.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    outbox: Outbox,
    line: Line,
    notes: mpsc::Sender<Note>,
    keep_alive: impl KeepAlive,
    times: SocketTimes,
    halt: CancellationToken,
) -> (SplitSink<WebSocket, Message>, End) {
    let mut beat = interval_at(Instant::now() + times.keep_alive, times.keep_alive);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let halted = halt.cancelled();
    tokio::pin!(halted);
    let mut batch = Vec::new();
    let end = loop {
        tokio::select! {
            biased;
            () = outbox.take(&mut batch) => {}
            _ = beat.tick() => match keep_alive.frame() {
                Some(frame) => batch.push(Outgoing::Frame(frame)),
                None => continue,
            },
            () = &mut halted => break End::Halted,
        }
        let taking = Taking::begin(&line, times.unread);
        let sent = tokio::select! {
            biased;
            sent = write_batch(&mut sink, &mut batch, &notes, &taking) => sent,
            // Half a frame may be out by now, but the rest of it is in the socket's own buffer.
            () = &mut halted => break End::Halted,
        };
        if let Err(end) = sent {
            break end;
        }
    };
    (sink, end)
}

async fn write_batch(
    sink: &mut SplitSink<WebSocket, Message>,
    batch: &mut Vec<Outgoing>,
    notes: &mpsc::Sender<Note>,
    taking: &Taking<'_>,
) -> Result<(), End> {
    let mut has_frames = false;
    for item in batch.drain(..) {
        let note = match item {
            Outgoing::Frame(frame) => {
                has_frames = true;
                taking.in_time(sink.feed(Message::Binary(frame))).await?;
                continue;
            }
            Outgoing::Behind(slot) => Note::Behind(slot),
            Outgoing::Detached { slot, code, reason } => Note::Detached { slot, code, reason },
        };
        // The reader takes notes also while it waits for this writer, so this ends.
        notes.send(note).await.map_err(|_| End::Halted)?;
    }
    if has_frames { taking.in_time(sink.flush()).await } else { Ok(()) }
}

/// How a client takes what is sent to it.
struct Taking<'a> {
    line: &'a Line,
    unread: Duration,
    since: Instant,
    sent_before: u64,
}

impl<'a> Taking<'a> {
    fn begin(line: &'a Line, unread: Duration) -> Self {
        Self { line, unread, since: Instant::now(), sent_before: line.sent_bytes() }
    }

    /// Until when more has to be taken: every byte gives it the same time again, and all of it has to come to so
    /// many bytes a second.
    fn deadline(&self) -> Instant {
        let sent = self.line.sent_bytes() - self.sent_before;
        let bought = Duration::from_secs(sent / limits::UNREAD_BYTES_PER_SECOND);
        (self.line.sent_at().max(self.since) + self.unread).min(self.since + self.unread + bought)
    }

    /// Sends, unless the client takes nothing for too long: then the socket is given up.
    async fn in_time(&self, sending: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
        tokio::pin!(sending);
        loop {
            let deadline = self.deadline();
            match timeout_at(deadline, sending.as_mut()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => return Err(End::Gone),
                Err(_) if self.deadline() > deadline => {}
                Err(_) => return Err(CloseCode::FellBehind.into()),
            }
        }
    }
}

/// Says goodbye: what is still queued, then the close code; and hears the other side out.
///
/// A connection that is dropped with bytes nobody has read is reset, and so is one to which more comes after that.
/// The reset can overtake the code: then the client sees a connection that broke, and comes back where it was told
/// not to. So what still comes is read and thrown away, until the client has closed as well or [`FAREWELL`] is over.
pub(super) async fn close(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
    outbox: &Outbox,
    line: &Line,
    end: &End,
) {
    let End::Close(code) = end else { return };
    let farewell = async {
        if *code != CloseCode::FellBehind {
            let mut batch = Vec::new();
            outbox.try_take(&mut batch);
            for item in batch {
                if let Outgoing::Frame(frame) = item {
                    sink.feed(Message::Binary(frame)).await?;
                }
            }
        }
        let frame = CloseFrame { code: code.number(), reason: code.reason().into() };
        sink.send(Message::Close(Some(frame))).await
    };
    let said = timeout(FAREWELL, farewell).await;
    debug!(close.code = code.number(), "closed a socket: {}", code.reason());
    if !matches!(said, Ok(Ok(()))) {
        return;
    }
    if *code == CloseCode::TooLarge || line.fault().is_some() {
        // Amid a message there is nothing more to be read from the stream: its rest is still on its way, and the
        // client has the code when that has passed.
        tokio::time::sleep(FAREWELL).await;
        return;
    }
    let heard_out = async {
        while let Some(Ok(Message::Binary(_) | Message::Text(_) | Message::Ping(_) | Message::Pong(_))) =
            stream.next().await
        {}
    };
    // A client that goes on without hearing is left alone in the end.
    let _ = timeout(FAREWELL, heard_out).await;
}

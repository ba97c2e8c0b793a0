//! What a model says while it answers, the same for every transport.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::{ModelError, request::InputItem};

/// Events that may wait for the caller before the connection stops reading. At 1000 tokens a second this is a
/// quarter of a second of output.
const EVENTS_WAITING: usize = 256;

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelEvent {
    /// The model has taken the request and is about to answer. At most once, before any output.
    Started {
        /// The server's name for this answer, for logs; empty if it gave none.
        response_id: String,
    },
    /// More of the answer's text.
    TextDelta(String),
    /// The model begins to call a tool.
    ToolBegin {
        /// Which output item this is; later events name it again. Counted from 0 within a call.
        item: u32,
        /// The id the tool's output must carry.
        call_id: String,
        /// The tool's name as it stood in the request.
        name: String,
        /// Whether the input is free text or JSON.
        kind: ToolKind,
    },
    /// More of a tool's input. For a custom tool it is the text itself, with no escaping.
    ToolInputDelta {
        /// The item of the [`ModelEvent::ToolBegin`] it belongs to.
        item: u32,
        /// The next piece.
        delta: String,
    },
    /// A tool call is complete. An item that never ends was cut off and must not be trusted as a whole.
    ToolEnd {
        /// The item of the [`ModelEvent::ToolBegin`] it belongs to.
        item: u32,
        /// The whole input. Where it differs from the joined deltas, this is what counts.
        input: String,
    },
    /// More of the model's reasoning, for those that show it.
    ReasoningDelta(String),
    /// What the call used. At most once, shortly before the terminal event.
    Usage(Usage),
    /// Terminal: the answer is over.
    Done {
        /// Why it ended.
        reason: DoneReason,
        /// What the model said, as input items: append them and then the tool outputs to the input of the next
        /// call, and it continues this one.
        output: Vec<InputItem>,
    },
    /// Terminal: the call failed. What came before is real, and incomplete.
    Failed(ModelError),
}

impl ModelEvent {
    /// Whether this event ends the stream.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed(_))
    }
}

/// How a tool takes its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ToolKind {
    /// Free text.
    Custom,
    /// A JSON object.
    Function,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DoneReason {
    /// The model had said everything, or waits for the output of its tool calls.
    Completed,
    /// The limit on output tokens was reached; the last item may be cut off.
    Length,
    /// A filter of the provider stopped it.
    Filtered,
    /// Something else stopped it early.
    Other,
}

/// What a call used, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Tokens of the request, including the cached ones.
    pub input_tokens: u64,
    /// Tokens of the request that the provider had in its cache.
    pub cached_input_tokens: u64,
    /// Tokens of the answer, including reasoning.
    pub output_tokens: u64,
    /// Tokens of reasoning.
    pub reasoning_tokens: u64,
}

/// The events of one call.
///
/// Yields exactly one terminal event, the last one, whatever happens underneath. Once the call's token is
/// cancelled nothing but `Failed(Interrupted)` is yielded, even if more had arrived. Dropping the stream
/// interrupts the call.
pub struct EventStream {
    events: mpsc::Receiver<ModelEvent>,
    interrupted: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    _interrupt_on_drop: DropGuard,
}

impl EventStream {
    /// Makes a stream, its sender, and the token that tells the sender to stop.
    pub fn new(cancel: &CancellationToken) -> (mpsc::Sender<ModelEvent>, CancellationToken, Self) {
        let (sender, events) = mpsc::channel(EVENTS_WAITING);
        let cancel = cancel.child_token();
        let stream = Self {
            events,
            interrupted: Box::pin(cancel.clone().cancelled_owned()),
            ended: false,
            _interrupt_on_drop: cancel.clone().drop_guard(),
        };
        (sender, cancel, stream)
    }

    /// The next event, or `None` after the terminal one.
    pub async fn next(&mut self) -> Option<ModelEvent> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for EventStream {
    type Item = ModelEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ModelEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.interrupted.as_mut().poll(context).is_ready() {
            self.ended = true;
            return Poll::Ready(Some(ModelEvent::Failed(ModelError::Interrupted)));
        }
        let event = match self.events.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(event)) => event,
            // The sender always ends with a terminal event, unless its task was killed.
            Poll::Ready(None) => ModelEvent::Failed(ModelError::Closed),
        };
        self.ended = event.is_terminal();
        Poll::Ready(Some(event))
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EventStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_follows_an_interruption() {
        let cancel = CancellationToken::new();
        let (sender, _, mut stream) = EventStream::new(&cancel);
        sender.send(ModelEvent::TextDelta("late".into())).await.unwrap();
        cancel.cancel();
        assert_eq!(stream.next().await, Some(ModelEvent::Failed(ModelError::Interrupted)));
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_lost_sender_is_a_terminal_event() {
        let (sender, _, mut stream) = EventStream::new(&CancellationToken::new());
        drop(sender);
        assert_eq!(stream.next().await, Some(ModelEvent::Failed(ModelError::Closed)));
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn dropping_the_stream_interrupts_the_call() {
        let (_sender, cancel, stream) = EventStream::new(&CancellationToken::new());
        drop(stream);
        assert!(cancel.is_cancelled());
    }
}

//! Talking to code models.
//!
//! [`connect`] makes a [`ModelProvider`] from [`ModelSettings`]; a [`CallRequest`] goes in and an [`EventStream`]
//! comes out, the same for every provider and transport. This crate knows how to reach a model, keep the
//! connection warm, and say what went wrong. It does not know what a document, a patch or a turn is.
//!
//! In reading order:
//!
//! - `request`: what a model is asked.
//! - `event`: what it says while it answers.
//! - `capability`: the table of what each model can do.
//! - `settings`: which model, where, and how it is reached.
//! - `responses_wire`: the Responses API's JSON, and nothing else.
//! - `responses_ws`: the persistent WebSocket; an actor per connection, a pool of them per provider.
//! - `responses_sse` and `chat_sse`: the same events over HTTP streaming.
//! - `retry`: which failures are retried, and how long to wait.
//! - `error`: why a call failed.

mod capability;
mod chat_sse;
mod error;
mod event;
mod http;
mod request;
mod responses_sse;
mod responses_wire;
mod responses_ws;
mod retry;
mod settings;
mod sse;

pub use capability::{Capability, EditFormat};
pub use error::ModelError;
pub use event::{DoneReason, EventStream, ModelEvent, ToolKind, Usage};
pub use request::{CallRequest, InputItem, Tool};
pub use settings::{Limits, ModelSettings, OPENAI_BASE_URL, Spare, Transport, connect};
pub use tokio_util::sync::CancellationToken;

/// A model that can be called.
///
/// A provider guarantees:
///
/// - Calls may run at the same time and do not disturb each other.
/// - A stream ends with exactly one terminal event, [`ModelEvent::Done`] or [`ModelEvent::Failed`].
/// - Every item has its [`ModelEvent::ToolBegin`] before its deltas and its [`ModelEvent::ToolEnd`] after them;
///   items do not interleave unless the server interleaves them.
/// - Output is never repeated: a call is retried inside the provider only while nothing of it has been streamed.
/// - Cancelling the token, or dropping the stream, closes the call's connection; the provider stays usable.
/// - Silence longer than [`Limits::event_silence`] ends the call.
/// - No key, prompt or output appears in logs, errors or `Debug`.
#[async_trait::async_trait]
pub trait ModelProvider: std::fmt::Debug + Send + Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// The model's name at its provider.
    fn model(&self) -> &str;

    /// What it can do.
    fn capability(&self) -> &Capability;

    /// Sends a request and returns the events of its answer.
    ///
    /// Fails if the server cannot be reached or refuses the request before it answers, and with
    /// [`ModelError::Interrupted`] if `cancel` fires first.
    async fn call(&self, request: CallRequest, cancel: CancellationToken) -> Result<EventStream, ModelError>;

    /// Connects ahead of time, so that the first call need not. Does nothing where there is nothing to keep open.
    async fn warm(&self) -> Result<(), ModelError>;
}

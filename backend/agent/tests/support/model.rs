//! Models: one that says what the test tells it, event by event, and the demo model behind its real socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ensemble_demo_model::{DemoModel, DemoOptions};
use ensemble_model::{
    CallRequest, CancellationToken, Capability, DoneReason, EventStream, InputItem, ModelError, ModelEvent,
    ModelProvider, ModelSettings, ToolKind, Transport, Usage, connect,
};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

use super::PATIENCE;

/// Calls that may wait for the test.
const CALLS: usize = 64;

/// A model whose words come from the test.
#[derive(Debug)]
pub struct Script {
    capability: Capability,
    /// Calls that are taken; those after them are refused.
    allowed: AtomicUsize,
    calls: mpsc::Sender<Call>,
    waiting: Mutex<mpsc::Receiver<Call>>,
}

impl Script {
    pub fn new() -> Arc<Self> {
        Self::with(Capability::of("demo"))
    }

    /// A model that can do something else than the demo model.
    pub fn with(capability: Capability) -> Arc<Self> {
        let (calls, waiting) = mpsc::channel(CALLS);
        let allowed = AtomicUsize::new(usize::MAX);
        Arc::new(Self { capability, allowed, calls, waiting: Mutex::new(waiting) })
    }

    /// The next call of the agent.
    pub async fn call(&self) -> Call {
        let call = tokio::time::timeout(PATIENCE, async { self.waiting.lock().await.recv().await });
        call.await.expect("the agent calls the model").expect("the model is there")
    }

    /// Takes so many more calls and refuses those after them.
    pub fn allow_only(&self, calls: usize) {
        self.allowed.store(calls, Ordering::SeqCst);
    }

    /// Whether a call waits.
    pub async fn is_called(&self) -> bool {
        !self.waiting.lock().await.is_empty()
    }
}

#[async_trait]
impl ModelProvider for Script {
    fn name(&self) -> &'static str {
        "Script"
    }

    fn model(&self) -> &'static str {
        "script"
    }

    fn capability(&self) -> &Capability {
        &self.capability
    }

    async fn call(&self, request: CallRequest, cancel: CancellationToken) -> Result<EventStream, ModelError> {
        if self.allowed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err()
        {
            return Err(ModelError::RateLimited { retry_after: None });
        }
        let (events, cancelled, stream) = EventStream::new(&cancel);
        let call = Call { request, events, cancelled, item: 0, output: Vec::new() };
        self.calls.send(call).await.expect("the test holds the model");
        Ok(stream)
    }

    async fn warm(&self) -> Result<(), ModelError> {
        Ok(())
    }
}

/// One call, answered by the test.
pub struct Call {
    pub request: CallRequest,
    pub cancelled: CancellationToken,
    events: mpsc::Sender<ModelEvent>,
    item: u32,
    output: Vec<InputItem>,
}

impl Call {
    /// The last message of the request: documents, selection, tree and prompt.
    pub fn shown(&self) -> &str {
        match self.request.input.last() {
            Some(InputItem::UserText(text)) => text,
            other => panic!("the last item is a message, not {other:?}"),
        }
    }

    /// Says something; after an interruption nobody listens, which is fine.
    pub async fn event(&self, event: ModelEvent) {
        let _ = self.events.send(event).await;
    }

    pub async fn say(&self, text: &str) {
        self.event(ModelEvent::TextDelta(text.into())).await;
    }

    /// Begins to call the patch tool.
    pub async fn begin_patch(&mut self) -> u32 {
        let item = self.item;
        self.item += 1;
        let (call_id, name) = (format!("call_{item}"), "apply_patch".to_owned());
        self.event(ModelEvent::ToolBegin { item, call_id, name, kind: ToolKind::Custom }).await;
        item
    }

    pub async fn delta(&self, item: u32, text: &str) {
        self.event(ModelEvent::ToolInputDelta { item, delta: text.into() }).await;
    }

    /// Hands in a whole patch, in pieces of three characters.
    pub async fn patch(&mut self, patch: &str) {
        let item = self.begin_patch().await;
        for piece in pieces(patch) {
            self.delta(item, &piece).await;
        }
        self.event(ModelEvent::ToolEnd { item, input: patch.into() }).await;
        let (call_id, name) = (format!("call_{item}"), "apply_patch".to_owned());
        let input = patch.to_owned();
        self.output.push(InputItem::ToolCall { call_id, name, kind: ToolKind::Custom, input });
    }

    /// Hands in the arguments of a function, in pieces of three characters.
    pub async fn function(&mut self, name: &str, arguments: &str) {
        let item = self.item;
        self.item += 1;
        let (call_id, name, kind) = (format!("call_{item}"), name.to_owned(), ToolKind::Function);
        self.event(ModelEvent::ToolBegin { item, call_id: call_id.clone(), name: name.clone(), kind }).await;
        for piece in pieces(arguments) {
            self.delta(item, &piece).await;
        }
        let input = arguments.to_owned();
        self.event(ModelEvent::ToolEnd { item, input: input.clone() }).await;
        self.output.push(InputItem::ToolCall { call_id, name, kind, input });
    }

    /// Says a whole text, in pieces of three characters.
    pub async fn says(&self, text: &str) {
        for piece in pieces(text) {
            self.say(&piece).await;
        }
    }

    pub async fn done(&self) {
        let usage =
            Usage { input_tokens: 100, cached_input_tokens: 40, output_tokens: 20, reasoning_tokens: 0 };
        self.event(ModelEvent::Usage(usage)).await;
        self.event(ModelEvent::Done { reason: DoneReason::Completed, output: self.output.clone() }).await;
    }

    pub async fn fail(&self, error: ModelError) {
        self.event(ModelEvent::Failed(error)).await;
    }
}

/// A text in pieces as small as a model's tokens.
pub fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(3).map(|piece| piece.iter().collect()).collect()
}

/// A running demo model; it stops when dropped.
pub struct Demo {
    base_url: String,
    shutdown: CancellationToken,
}

impl Demo {
    pub async fn start(options: DemoOptions) -> Self {
        // Two tests may come here at once; one of them installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        tokio::spawn(DemoModel::serve(listener, options, shutdown.clone()));
        Self { base_url, shutdown }
    }

    /// One that answers without pauses.
    pub async fn quick() -> Self {
        Self::start(quick()).await
    }

    /// The model as the server reaches it: over its WebSocket.
    pub fn provider(&self) -> Arc<dyn ModelProvider> {
        self.provider_with(Capability::of("demo"))
    }

    /// The same, believed to be able to do something else.
    pub fn provider_with(&self, capability: Capability) -> Arc<dyn ModelProvider> {
        let settings = ModelSettings::new("Demo", "demo", &self.base_url, Transport::ResponsesWs);
        connect(ModelSettings { capability: Some(capability), ..settings }).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Options without pauses.
pub fn quick() -> DemoOptions {
    DemoOptions { tokens_per_second: 0, first_token_delay: Duration::ZERO, ..DemoOptions::default() }
}

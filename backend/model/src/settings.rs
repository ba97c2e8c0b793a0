//! Which model, where, and how it is reached.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;

use crate::{
    ModelError, ModelProvider, capability::Capability, chat_sse::ChatSse, responses_sse::ResponsesSse,
    responses_ws::ResponsesWs,
};

/// Where OpenAI serves its API.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// How a model is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The Responses API over a persistent WebSocket; falls back to [`Transport::ResponsesSse`] where the server
    /// has none.
    ResponsesWs,
    /// The Responses API over HTTP streaming.
    ResponsesSse,
    /// Chat Completions over HTTP streaming, for the many servers that have nothing else.
    Chat,
}

/// One model and how to reach it.
///
/// `Debug` does not print the key.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// What people call it: shown in the roster and in logs.
    pub name: String,
    /// The model's name at its provider.
    pub model: String,
    /// The address of the API, ending in `/v1`, with `http` or `https`.
    pub base_url: String,
    /// Sent as a bearer token.
    pub api_key: Option<SecretString>,
    /// How it is reached.
    pub transport: Transport,
    /// What it can do, where the built-in table is wrong or silent; `None` asks the table.
    pub capability: Option<Capability>,
    /// How long anything may take.
    pub limits: Limits,
    /// Whether a second connection is kept open, so that the call after an interruption need not wait for one.
    pub spare: Spare,
}

impl ModelSettings {
    /// Settings with the usual limits and the built-in table's capabilities.
    pub fn new(name: &str, model: &str, base_url: &str, transport: Transport) -> Self {
        Self {
            name: name.to_owned(),
            model: model.to_owned(),
            base_url: base_url.to_owned(),
            api_key: None,
            transport,
            capability: None,
            limits: Limits::default(),
            spare: Spare::Warm,
        }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_api_key(mut self, api_key: SecretString) -> Self {
        self.api_key = Some(api_key);
        self
    }

    pub(crate) fn capability(&self) -> Capability {
        self.capability.clone().unwrap_or_else(|| Capability::of(&self.model))
    }
}

/// Whether a connection is kept ready beside the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spare {
    /// One is opened in the background after the first call succeeded.
    Warm,
    /// None is.
    None,
}

/// How long anything may take, by tokio's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From dialing to an open connection. Long enough for a slow TLS handshake across the world.
    pub connect: Duration,
    /// Between two events of an answer, and before the first. A fast model never pauses this long; Codex waits
    /// ten times longer, but there a person is not watching the cursor.
    pub event_silence: Duration,
    /// How old a connection may become. Servers close them at 60 minutes; ours go when idle at 55.
    pub connection_age: Duration,
    /// How often an idle connection is pinged; two unanswered pings in a row mean that it is dead.
    pub ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            event_silence: Duration::from_secs(30),
            connection_age: Duration::from_mins(55),
            ping: Duration::from_secs(25),
        }
    }
}

/// Makes a provider from its settings. Nothing is dialed before the first call or [`ModelProvider::warm`].
///
/// Fails only if the settings cannot work, such as an address that is none.
pub fn connect(settings: ModelSettings) -> Result<Arc<dyn ModelProvider>, ModelError> {
    Ok(match settings.transport {
        Transport::ResponsesWs => Arc::new(ResponsesWs::new(settings)?),
        Transport::ResponsesSse => Arc::new(ResponsesSse::new(settings)?),
        Transport::Chat => Arc::new(ChatSse::new(settings)?),
    })
}

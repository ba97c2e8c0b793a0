//! A scripted model behind a tiny Responses server: says exactly what it is told to, when it is told to, and
//! notes when each delta left. It is a measuring instrument, not a model.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Characters of a token, on average, in code.
pub(crate) const TOKEN_CHARS: usize = 4;

/// One delta of a script.
#[derive(Debug, Clone)]
pub(crate) struct Delta {
    /// How long to wait before it, counted from when the one before was due.
    pub(crate) after: Duration,
    /// What it says.
    pub(crate) text: String,
    /// Whether the moment it is sent is noted.
    pub(crate) marked: bool,
}

/// Cuts a text into tokens at a rate.
pub(crate) fn paced(text: &str, tokens_per_second: u32) -> Vec<Delta> {
    let after = Duration::from_secs(1) / tokens_per_second.max(1);
    let characters: Vec<char> = text.chars().collect();
    characters
        .chunks(TOKEN_CHARS)
        .map(|token| Delta { after, text: token.iter().collect(), marked: false })
        .collect()
}

/// A whole text in one delta, at once.
pub(crate) fn at_once(text: &str) -> Delta {
    Delta { after: Duration::ZERO, text: text.to_owned(), marked: false }
}

#[derive(Debug, Default)]
struct Shared {
    /// Patches to hand in, one per call.
    scripts: Mutex<VecDeque<Vec<Delta>>>,
    /// When the marked delta of the latest script was sent.
    marked: Mutex<Option<Instant>>,
    /// Deltas sent so far.
    sent: Mutex<u64>,
}

/// The server. Stops when dropped.
#[derive(Debug)]
pub(crate) struct ScriptedModel {
    shared: Arc<Shared>,
    base: String,
    task: tokio::task::JoinHandle<()>,
}

impl ScriptedModel {
    /// Starts it on a free port of this machine.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}/v1", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { shared, base, task })
    }

    /// The variables that make a server use it.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        // The name decides what a server believes the model can do: take the patch as a custom tool.
        [
            ("ENSEMBLE_MODEL", "bench:gpt-5.3-codex-spark"),
            ("ENSEMBLE_MODEL_BASE_URL", &self.base),
            ("ENSEMBLE_MODEL_API_KEY", "bench"),
            ("ENSEMBLE_MODEL_TRANSPORT", "responses_ws"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Forgets what no call has asked for.
    pub(crate) fn forget(&self) {
        self.shared.scripts.lock().clear();
    }

    /// What the next call is answered with.
    pub(crate) fn script(&self, deltas: Vec<Delta>) {
        *self.shared.marked.lock() = None;
        self.shared.scripts.lock().push_back(deltas);
    }

    /// When the marked delta was sent.
    pub(crate) fn marked(&self) -> Option<Instant> {
        *self.shared.marked.lock()
    }

    /// Deltas sent so far, over all calls.
    pub(crate) fn sent(&self) -> u64 {
        *self.shared.sent.lock()
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            // A connection that breaks in the middle of an answer is an interrupted turn.
            let _ = connection(stream, &shared).await;
        });
    }
}

async fn connection(stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let request: Value = serde_json::from_str(&text).context("a request is JSON")?;
        if request.get("type").and_then(Value::as_str) == Some("response.create") {
            answer(&mut socket, shared).await?;
        }
    }
    Ok(())
}

/// The events of one answer, numbered.
struct Events<'a> {
    socket: &'a mut WebSocketStream<TcpStream>,
    number: u64,
}

impl Events<'_> {
    async fn send(&mut self, kind: &str, mut event: Value) -> anyhow::Result<()> {
        event["type"] = kind.into();
        event["sequence_number"] = self.number.into();
        self.number += 1;
        Ok(self.socket.send(Message::text(event.to_string())).await?)
    }
}

async fn answer(socket: &mut WebSocketStream<TcpStream>, shared: &Shared) -> anyhow::Result<()> {
    let script = shared.scripts.lock().pop_front().unwrap_or_default();
    let mut events = Events { socket, number: 0 };
    let response = json!({"id": "resp_bench", "object": "response", "status": "in_progress", "output": []});
    events.send("response.created", json!({"response": response})).await?;
    let item = |status: &str, input: &str| {
        json!({
            "type": "custom_tool_call", "id": "ctc_bench", "call_id": "call_bench", "name": "apply_patch",
            "status": status, "input": input,
        })
    };
    let added = json!({"output_index": 0, "item": item("in_progress", "")});
    events.send("response.output_item.added", added).await?;
    let mut due = Instant::now();
    let (mut input, mut tokens) = (String::new(), 0_u64);
    for delta in script {
        due += delta.after;
        tokio::time::sleep_until(due.into()).await;
        input.push_str(&delta.text);
        tokens += 1;
        *shared.sent.lock() += 1;
        if delta.marked {
            *shared.marked.lock() = Some(Instant::now());
        }
        let event = json!({"item_id": "ctc_bench", "output_index": 0, "delta": delta.text});
        events.send("response.custom_tool_call_input.delta", event).await?;
    }
    let place = json!({"item_id": "ctc_bench", "output_index": 0, "input": input});
    events.send("response.custom_tool_call_input.done", place).await?;
    let done = item("completed", &input);
    events.send("response.output_item.done", json!({"output_index": 0, "item": done})).await?;
    let usage = json!({"input_tokens": 1, "output_tokens": tokens, "total_tokens": tokens + 1});
    let response = json!({
        "id": "resp_bench", "object": "response", "status": "completed", "output": [done], "usage": usage,
    });
    events.send("response.completed", json!({"response": response})).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paced_text_is_whole_and_takes_as_long_as_it_should() {
        let text = "+def greet(name):\n+    return f\"ä {name}\"\n";
        let deltas = paced(text, 1000);
        assert_eq!(deltas.iter().map(|delta| delta.text.as_str()).collect::<String>(), text);
        let time: Duration = deltas.iter().map(|delta| delta.after).sum();
        assert_eq!(time, Duration::from_millis(text.chars().count().div_ceil(TOKEN_CHARS) as u64));
    }
}

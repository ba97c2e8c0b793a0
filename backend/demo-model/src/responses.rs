//! Its own reading of the Responses protocol: what a request says, and the events that answer it.

mod request;

use std::sync::{Arc, atomic::Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

pub(crate) use self::request::{Create, Refusal, connection_limit, not_found, read_create, refused_by_fault};
use crate::{
    Counts, Shared,
    fault::{ErrorShape, Fault},
    pace::{self, Pace},
    rules,
};

/// The name it goes by.
pub(crate) const MODEL: &str = "demo";

/// What a transport is to send next.
#[derive(Debug)]
pub(crate) enum Frame {
    /// An event.
    Event(Value),
    /// Something that is not a whole event, to be sent as it is.
    Broken(String),
    /// Bytes that are not text.
    Binary,
    /// Nothing more: drop the connection.
    Cut,
    /// The answer is over. With the whole conversation, if it may be continued.
    Over(Option<Vec<Value>>),
}

/// One item of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    Message(String),
    Custom { name: String, input: String },
    Function { name: String, arguments: String },
}

/// How `apply_patch` is offered.
fn patch_tool(tools: &[Value]) -> Option<&'static str> {
    tools.iter().find_map(|tool| {
        if tool.get("name").and_then(Value::as_str) != Some("apply_patch") {
            return None;
        }
        match tool.get("type").and_then(Value::as_str) {
            Some("custom") => Some("custom"),
            Some("function") => Some("function"),
            _ => None,
        }
    })
}

fn plan(create: &Create, conversation: &[Value], shared: &Shared) -> Vec<Output> {
    let answer = rules::answer(conversation, shared.options.obedience);
    let is_edit = |tool: &&Value| tool.get("name").and_then(Value::as_str) == Some("edit");
    if create.tools.iter().find(is_edit).and_then(|tool| tool.get("type")) == Some(&json!("function")) {
        let calls = answer.edits.into_iter().map(|(path, edits)| {
            let edits: Vec<Value> =
                edits.into_iter().map(|edit| json!({"old_text": edit.old, "new_text": edit.new})).collect();
            let arguments = json!({"path": path, "edits": edits}).to_string();
            Output::Function { name: "edit".to_owned(), arguments }
        });
        return std::iter::once(Output::Message(answer.text)).chain(calls).collect();
    }
    let Some(patch) = answer.patch else { return vec![Output::Message(answer.text)] };
    let name = "apply_patch".to_owned();
    match patch_tool(&create.tools) {
        Some("custom") => vec![Output::Message(answer.text), Output::Custom { name, input: patch }],
        Some(_) => {
            let arguments = json!({"input": patch}).to_string();
            vec![Output::Message(answer.text), Output::Function { name, arguments }]
        }
        None => vec![Output::Message(rules::fenced(&answer.text, &patch))],
    }
}

/// One answer on its way out.
struct Answering<'a> {
    create: &'a Create,
    shared: &'a Shared,
    out: &'a mpsc::Sender<Frame>,
    id: &'a str,
    sequence: u64,
    deltas: u32,
    tokens: u64,
    input_tokens: u64,
    pace: Pace,
    output: Vec<Value>,
}

/// Why an answer stopped early.
enum Stop {
    /// The transport is gone, or a fault ended the answer.
    Gone,
    /// The limit on output tokens.
    Length,
}

/// Answers a request: sends its events in order and at the right pace, and [`Frame::Over`] at the end.
///
/// Dropping the future stops it between two events.
pub(crate) async fn respond(
    create: Create,
    conversation: Vec<Value>,
    id: String,
    shared: Arc<Shared>,
    out: mpsc::Sender<Frame>,
) {
    let stats = &shared.options.stats;
    stats.counts().calls.fetch_add(1, Ordering::AcqRel);
    if create.previous.is_some() {
        stats.counts().chained_calls.fetch_add(1, Ordering::AcqRel);
    }
    let _answering = stats.during(|counts: &Counts| &counts.answering);
    let options = &shared.options;
    let read: u64 = conversation.iter().map(|item| pace::count(&item.to_string())).sum();
    let mut answering = Answering {
        create: &create,
        shared: &shared,
        out: &out,
        id: &id,
        sequence: 0,
        deltas: 0,
        tokens: 0,
        input_tokens: read + create.instructions.as_deref().map_or(0, pace::count),
        pace: Pace::new(options.tokens_per_second, options.first_token_delay),
        output: vec![],
    };
    let ended = answering.run(&conversation).await;
    let output = std::mem::take(&mut answering.output);
    let remembered = ended.is_ok().then(|| {
        let mut items = conversation;
        items.extend(output);
        items
    });
    // A transport that is gone needs no ending.
    let _ = out.send(Frame::Over(remembered)).await;
}

impl Answering<'_> {
    async fn run(&mut self, conversation: &[Value]) -> Result<(), Stop> {
        if let Some(Fault::Vanish) = &self.create.fault {
            self.send(Frame::Cut).await?;
            return Err(Stop::Gone);
        }
        if let Some(Fault::Error { after: 0, .. }) = &self.create.fault {
            return self.fault().await;
        }
        self.event("response.created", json!({"response": self.response("in_progress", &Value::Null)}))
            .await?;
        if self.create.generate {
            self.event(
                "response.in_progress",
                json!({"response": self.response("in_progress", &Value::Null)}),
            )
            .await?;
            self.fault().await?;
            for (index, output) in plan(self.create, conversation, self.shared).into_iter().enumerate() {
                match self.item(index, output).await {
                    Ok(()) => {}
                    Err(Stop::Length) => {
                        let details = json!({"reason": "max_output_tokens"});
                        let response = self.response("incomplete", &details);
                        return self.event("response.incomplete", json!({"response": response})).await;
                    }
                    Err(Stop::Gone) => return Err(Stop::Gone),
                }
            }
        }
        self.event("response.completed", json!({"response": self.response("completed", &Value::Null)})).await
    }

    async fn send(&mut self, frame: Frame) -> Result<(), Stop> {
        self.out.send(frame).await.map_err(|_| Stop::Gone)
    }

    async fn event(&mut self, kind: &str, fields: Value) -> Result<(), Stop> {
        let mut event = Map::new();
        event.insert("type".into(), kind.into());
        event.insert("sequence_number".into(), self.sequence.into());
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        if let Some(lane) = &self.create.lane {
            event.insert("stream_id".into(), lane.as_str().into());
        }
        if self.create.fault == Some(Fault::MissingFields) {
            for name in ["sequence_number", "output_index", "content_index", "item_id", "logprobs"] {
                event.remove(name);
            }
        }
        self.sequence += 1;
        self.send(Frame::Event(Value::Object(event))).await
    }

    /// One token of output, when it is due.
    async fn delta(&mut self, kind: &str, fields: Value) -> Result<(), Stop> {
        if self.create.max_output_tokens.is_some_and(|limit| self.tokens >= limit) {
            return Err(Stop::Length);
        }
        self.pace.next_token().await;
        if self.create.fault == Some(Fault::UnknownEvents) {
            self.event("response.mood.delta", json!({"delta": {"mood": "fine"}})).await?;
            self.send(Frame::Event(json!({"type": "codex.rate_limits", "limits": [1, 2]}))).await?;
        }
        self.event(kind, fields).await?;
        self.tokens += 1;
        self.deltas += 1;
        self.fault().await
    }

    /// Misbehaves if it is time to.
    async fn fault(&mut self) -> Result<(), Stop> {
        let sent = self.deltas;
        match &self.create.fault {
            Some(Fault::Stall { after }) if *after == sent => {
                std::future::pending::<()>().await;
                Ok(())
            }
            Some(Fault::Cut { after }) if *after == sent => {
                self.send(Frame::Cut).await?;
                Err(Stop::Gone)
            }
            Some(Fault::Garble { after }) if *after == sent => {
                self.send(Frame::Broken("{\"type\":\"response.output_text.del".into())).await
            }
            Some(Fault::Binary { after }) if *after == sent => self.send(Frame::Binary).await,
            Some(Fault::Error { shape, code, after }) if *after == sent => {
                let message = "The server had an error while processing your request.";
                let error = json!({"code": code, "message": message});
                match shape {
                    ErrorShape::Nested => {
                        let refusal = Refusal::coded(500, code, message, None);
                        self.send(Frame::Event(refusal.event(self.create.lane.as_deref()))).await?;
                    }
                    ErrorShape::Flat => {
                        let fields = json!({"code": code, "message": message, "param": null});
                        self.event("error", fields).await?;
                    }
                    ErrorShape::Failed => {
                        let mut response = self.response("failed", &Value::Null);
                        response["error"] = error;
                        self.event("response.failed", json!({"response": response})).await?;
                    }
                }
                Err(Stop::Gone)
            }
            _ => Ok(()),
        }
    }

    async fn item(&mut self, index: usize, output: Output) -> Result<(), Stop> {
        match output {
            Output::Message(text) => self.message(index, &text).await,
            Output::Custom { name, input } => {
                let base = json!({"type": "custom_tool_call", "name": name});
                self.call(index, base, "ctc", "custom_tool_call_input", "input", &input).await
            }
            Output::Function { name, arguments } => {
                let base = json!({"type": "function_call", "name": name});
                self.call(index, base, "fc", "function_call_arguments", "arguments", &arguments).await
            }
        }
    }

    async fn message(&mut self, index: usize, text: &str) -> Result<(), Stop> {
        let id = self.shared.id("msg");
        let part =
            |text: &str| json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
        let item = |status: &str, content: Vec<Value>| json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content});
        let added = json!({"output_index": index, "item": item("in_progress", vec![])});
        self.event("response.output_item.added", added).await?;
        let place = |mut fields: Value| {
            fields["item_id"] = id.as_str().into();
            fields["output_index"] = index.into();
            fields["content_index"] = 0.into();
            fields
        };
        self.event("response.content_part.added", place(json!({"part": part("")}))).await?;
        for token in pace::tokens(text) {
            self.delta("response.output_text.delta", place(json!({"delta": token, "logprobs": []}))).await?;
        }
        self.event("response.output_text.done", place(json!({"text": text, "logprobs": []}))).await?;
        self.event("response.content_part.done", place(json!({"part": part(text)}))).await?;
        self.item_done(index, item("completed", vec![part(text)])).await
    }

    async fn call(
        &mut self,
        index: usize,
        base: Value,
        prefix: &str,
        events: &str,
        field: &str,
        input: &str,
    ) -> Result<(), Stop> {
        let id = self.shared.id(prefix);
        let call_id = self.shared.id("call");
        let item = |status: &str, input: &str| {
            let mut item = base.clone();
            item["id"] = id.as_str().into();
            item["call_id"] = call_id.as_str().into();
            item["status"] = status.into();
            item[field] = input.into();
            item
        };
        let added = json!({"output_index": index, "item": item("in_progress", "")});
        self.event("response.output_item.added", added).await?;
        let place = |name: &str, value: &str| {
            let mut fields = json!({"item_id": id, "output_index": index});
            fields[name] = value.into();
            fields
        };
        let delta = format!("response.{events}.delta");
        for token in pace::tokens(input) {
            self.delta(&delta, place("delta", token)).await?;
        }
        self.event(&format!("response.{events}.done"), place(field, input)).await?;
        self.item_done(index, item("completed", input)).await
    }

    async fn item_done(&mut self, index: usize, item: Value) -> Result<(), Stop> {
        self.output.push(item.clone());
        self.event("response.output_item.done", json!({"output_index": index, "item": item})).await
    }

    /// The `response` object as it stands.
    fn response(&self, status: &str, incomplete: &Value) -> Value {
        let usage = if status == "in_progress" {
            Value::Null
        } else {
            json!({
                "input_tokens": self.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self.tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.input_tokens + self.tokens,
            })
        };
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.shared.now(),
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": incomplete,
            "instructions": self.create.instructions,
            "max_output_tokens": self.create.max_output_tokens,
            "metadata": if self.create.metadata.is_object() { self.create.metadata.clone() } else { json!({}) },
            "model": self.create.model,
            "output": self.output,
            "parallel_tool_calls": true,
            "previous_response_id": self.create.previous,
            "reasoning": {"effort": null, "summary": null},
            "store": self.create.store,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": self.create.tools,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
        })
    }
}

//! Following one answer, event by event.

use serde_json::{Value, json};

use super::{WireEnd, WireFailure};
use crate::{
    ModelError,
    event::{DoneReason, ModelEvent, ToolKind, Usage},
    request::InputItem,
};

/// The most output items followed at once. Real answers have a handful.
const ITEMS_FOLLOWED: usize = 256;

/// One output item while it streams.
#[derive(Debug)]
struct Item {
    /// The server's id for it, which later events repeat; some servers leave it out.
    id: Option<String>,
    /// The server's index for it, likewise.
    index: Option<u64>,
    /// Our number for it.
    number: u32,
    kind: ItemKind,
    /// What has arrived of its text or input.
    text: String,
    /// Whether its end was reported.
    ended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ItemKind {
    Message,
    Tool { call_id: String, name: String, kind: ToolKind },
    Reasoning,
    Other,
}

/// Follows one answer, event by event.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    items: Vec<Item>,
    /// What the model has said, as neutral items.
    output: Vec<InputItem>,
    response_id: Option<String>,
    streamed: bool,
    /// Events that were not known or not understood.
    passed_over: u64,
}

impl Reading {
    /// Whether any output has been passed on. From then on the call must not be repeated.
    pub(crate) fn streamed(&self) -> bool {
        self.streamed
    }

    /// How many events were passed over.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// What the model has said, as input items for the next call.
    pub(crate) fn take_output(&mut self) -> Vec<InputItem> {
        std::mem::take(&mut self.output)
    }

    /// Takes one event. What it means is added to `events`; the end of the answer is returned.
    ///
    /// Fails if the text is not a JSON object.
    pub(crate) fn take(
        &mut self,
        text: &str,
        events: &mut Vec<ModelEvent>,
    ) -> Result<Option<WireEnd>, ModelError> {
        let malformed = || ModelError::Malformed { reason: "an event is not a JSON object".into() };
        let event: Value = serde_json::from_str(text).map_err(|_| malformed())?;
        if !event.is_object() {
            return Err(malformed());
        }
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        let delta = || event.get("delta").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.started(&event, events);
            }
            "response.output_item.added" => {
                if let Some(item) = event.get("item") {
                    self.open(&event, item, events);
                }
            }
            // A refusal is an answer too: people should read it.
            "response.output_text.delta" | "response.refusal.delta" => {
                self.text_delta(&event, delta(), events);
            }
            "response.custom_tool_call_input.delta" | "response.function_call_arguments.delta" => {
                self.tool_delta(&event, delta(), events);
            }
            "response.custom_tool_call_input.done" | "response.function_call_arguments.done" => {
                let input = event.get("input").or_else(|| event.get("arguments")).and_then(Value::as_str);
                if let (Some(position), Some(input)) = (self.find(&event), input) {
                    self.end_tool(position, Some(input), events);
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if !delta().is_empty() {
                    self.streamed = true;
                    events.push(ModelEvent::ReasoningDelta(delta().to_owned()));
                }
            }
            "response.output_item.done" => {
                if let Some(item) = event.get("item") {
                    self.close(&event, item, events);
                }
            }
            "response.completed" => {
                let response = event.get("response").unwrap_or(&Value::Null);
                self.started(&event, events);
                self.finish(response, events);
                Self::usage(response, events);
                return Ok(Some(self.done(DoneReason::Completed)));
            }
            "response.incomplete" => {
                let response = event.get("response").unwrap_or(&Value::Null);
                self.started(&event, events);
                Self::usage(response, events);
                let reason = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
                return Ok(Some(self.done(match reason {
                    Some("max_output_tokens" | "max_messages") => DoneReason::Length,
                    Some("content_filter") => DoneReason::Filtered,
                    _ => DoneReason::Other,
                })));
            }
            "response.failed" => {
                let response = event.get("response").unwrap_or(&event);
                Self::usage(response, events);
                return Ok(Some(WireEnd::Failed(WireFailure::read(response))));
            }
            "error" => return Ok(Some(WireEnd::Failed(WireFailure::read(&event)))),
            // Some compatible servers send an error with no type, in the shape of an HTTP error body.
            "" if event.get("error").is_some_and(Value::is_object) => {
                return Ok(Some(WireEnd::Failed(WireFailure::read(&event))));
            }
            "response.content_part.added"
            | "response.content_part.done"
            | "response.output_text.done"
            | "response.refusal.done"
            | "response.reasoning_summary_part.added"
            | "response.reasoning_summary_part.done"
            | "response.reasoning_summary_text.done"
            | "response.reasoning_text.done" => {}
            _ => self.passed_over += 1,
        }
        Ok(None)
    }

    fn started(&mut self, event: &Value, events: &mut Vec<ModelEvent>) {
        let id = event.pointer("/response/id").and_then(Value::as_str).unwrap_or_default();
        if self.response_id.is_none() {
            self.response_id = Some(id.to_owned());
            events.push(ModelEvent::Started { response_id: id.to_owned() });
        }
    }

    fn done(&self, reason: DoneReason) -> WireEnd {
        WireEnd::Done { reason, response_id: self.response_id.clone().filter(|id| !id.is_empty()) }
    }

    /// The item an event is about: by the server's id, by its index, or the one opened last.
    fn find(&self, event: &Value) -> Option<usize> {
        let id = event.get("item_id").or_else(|| event.pointer("/item/id")).and_then(Value::as_str);
        let index = event.get("output_index").and_then(Value::as_u64);
        if let Some(position) =
            id.and_then(|id| self.items.iter().position(|item| item.id.as_deref() == Some(id)))
        {
            return Some(position);
        }
        if let Some(position) =
            index.and_then(|index| self.items.iter().position(|item| item.index == Some(index)))
        {
            return Some(position);
        }
        let named = id.is_some() || index.is_some();
        let last = self.items.iter().rposition(|item| !item.ended)?;
        let anonymous = self.items[last].id.is_none() && self.items[last].index.is_none();
        (!named || anonymous).then_some(last)
    }

    fn open(&mut self, event: &Value, item: &Value, events: &mut Vec<ModelEvent>) -> Option<usize> {
        if self.items.len() >= ITEMS_FOLLOWED {
            self.passed_over += 1;
            return None;
        }
        let number = self.items.len() as u32;
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let tool = |kind| ItemKind::Tool { call_id: text("call_id"), name: text("name"), kind };
        let kind = match item.get("type").and_then(Value::as_str) {
            Some("message") => ItemKind::Message,
            Some("custom_tool_call") => tool(ToolKind::Custom),
            Some("function_call") => tool(ToolKind::Function),
            Some("reasoning") => ItemKind::Reasoning,
            _ => ItemKind::Other,
        };
        if let ItemKind::Tool { call_id, name, kind } = &kind {
            self.streamed = true;
            events.push(ModelEvent::ToolBegin {
                item: number,
                call_id: call_id.clone(),
                name: name.clone(),
                kind: *kind,
            });
        }
        self.items.push(Item {
            id: item.get("id").and_then(Value::as_str).map(str::to_owned),
            index: event.get("output_index").and_then(Value::as_u64),
            number,
            kind,
            text: String::new(),
            ended: false,
        });
        Some(self.items.len() - 1)
    }

    fn text_delta(&mut self, event: &Value, delta: &str, events: &mut Vec<ModelEvent>) {
        if delta.is_empty() {
            return;
        }
        let known = self.find(event).filter(|position| self.items[*position].kind == ItemKind::Message);
        // A server may skip the announcement of a message; its text is worth having all the same.
        let position = known.or_else(|| {
            let item = json!({"type": "message", "id": event.get("item_id")});
            self.open(event, &item, events)
        });
        if let Some(position) = position {
            self.items[position].text.push_str(delta);
        }
        self.streamed = true;
        events.push(ModelEvent::TextDelta(delta.to_owned()));
    }

    fn tool_delta(&mut self, event: &Value, delta: &str, events: &mut Vec<ModelEvent>) {
        let position =
            self.find(event).filter(|position| matches!(self.items[*position].kind, ItemKind::Tool { .. }));
        let Some(item) = position.and_then(|position| self.items.get_mut(position)) else {
            // Input of a call that was never announced; the complete item will bring it.
            self.passed_over += 1;
            return;
        };
        if !delta.is_empty() && !item.ended {
            item.text.push_str(delta);
            events.push(ModelEvent::ToolInputDelta { item: item.number, delta: delta.to_owned() });
        }
    }

    fn end_tool(&mut self, position: usize, input: Option<&str>, events: &mut Vec<ModelEvent>) {
        let item = &mut self.items[position];
        let ItemKind::Tool { call_id, name, kind } = &item.kind else { return };
        if item.ended {
            return;
        }
        item.ended = true;
        let streamed = std::mem::take(&mut item.text);
        let input = input.map_or_else(|| streamed.clone(), str::to_owned);
        // What the deltas left out still comes as a delta, so that a caller who reads only those misses nothing.
        if let Some(rest) = input.strip_prefix(streamed.as_str()).filter(|rest| !rest.is_empty()) {
            events.push(ModelEvent::ToolInputDelta { item: item.number, delta: rest.to_owned() });
        }
        events.push(ModelEvent::ToolEnd { item: item.number, input: input.clone() });
        self.output.push(InputItem::ToolCall {
            call_id: call_id.clone(),
            name: name.clone(),
            kind: *kind,
            input,
        });
    }

    fn close(&mut self, event: &Value, item: &Value, events: &mut Vec<ModelEvent>) {
        let Some(position) = self.find(event).or_else(|| self.open(event, item, events)) else { return };
        if self.items[position].ended {
            return;
        }
        match self.items[position].kind {
            ItemKind::Tool { .. } => {
                let input = item.get("input").or_else(|| item.get("arguments")).and_then(Value::as_str);
                self.end_tool(position, input, events);
            }
            ItemKind::Message => {
                let full: String = item
                    .get("content")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|part| {
                        part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str)
                    })
                    .collect();
                let message = &mut self.items[position];
                message.ended = true;
                let streamed = std::mem::take(&mut message.text);
                if let Some(rest) = full.strip_prefix(streamed.as_str()).filter(|rest| !rest.is_empty()) {
                    self.streamed = true;
                    events.push(ModelEvent::TextDelta(rest.to_owned()));
                }
                let text = if full.is_empty() { streamed } else { full };
                if !text.is_empty() {
                    self.output.push(InputItem::AssistantText(text));
                }
            }
            ItemKind::Reasoning => {
                self.items[position].ended = true;
                // It can only be replayed in its encrypted form.
                if item.get("encrypted_content").is_some_and(Value::is_string) {
                    self.output.push(InputItem::Carried(item.clone()));
                }
            }
            ItemKind::Other => self.items[position].ended = true,
        }
    }

    /// Ends what a completed answer left open: some servers send no `output_item.done`.
    fn finish(&mut self, response: &Value, events: &mut Vec<ModelEvent>) {
        let complete = response.get("output").and_then(Value::as_array);
        for position in 0..self.items.len() {
            if self.items[position].ended {
                continue;
            }
            let same = |candidate: &&Value| {
                self.items[position].id.is_some()
                    && candidate.get("id").and_then(Value::as_str) == self.items[position].id.as_deref()
            };
            match complete.and_then(|items| items.iter().find(same)) {
                Some(item) => {
                    let event = json!({"item_id": self.items[position].id});
                    self.close(&event, &item.clone(), events);
                }
                None => match self.items[position].kind {
                    ItemKind::Tool { .. } => self.end_tool(position, None, events),
                    ItemKind::Message => {
                        let text = std::mem::take(&mut self.items[position].text);
                        self.items[position].ended = true;
                        if !text.is_empty() {
                            self.output.push(InputItem::AssistantText(text));
                        }
                    }
                    ItemKind::Reasoning | ItemKind::Other => self.items[position].ended = true,
                },
            }
        }
    }

    fn usage(response: &Value, events: &mut Vec<ModelEvent>) {
        let Some(usage) = response.get("usage").filter(|usage| usage.is_object()) else { return };
        let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        events.push(ModelEvent::Usage(Usage {
            input_tokens: count("/input_tokens"),
            cached_input_tokens: count("/input_tokens_details/cached_tokens"),
            output_tokens: count("/output_tokens"),
            reasoning_tokens: count("/output_tokens_details/reasoning_tokens"),
        }));
    }
}

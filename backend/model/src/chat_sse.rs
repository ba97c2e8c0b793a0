//! Chat Completions over HTTP streaming, for the many servers that have nothing else.
//!
//! Text only: no tools are offered, so a patch comes as part of the text. Tool calls and outputs of an earlier
//! conversation are told as plain messages.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    ModelError, ModelProvider,
    capability::Capability,
    event::{DoneReason, EventStream, ModelEvent, Usage},
    http::{Delivery, Endpoint, PostError, RefusedFields, timed_out},
    request::{CallRequest, InputItem},
    responses_wire::WireFailure,
    settings::ModelSettings,
    sse::SseParser,
};

/// A provider that posts every call anew to `chat/completions`.
#[derive(Debug)]
pub(crate) struct ChatSse {
    settings: ModelSettings,
    capability: Capability,
    endpoint: Endpoint,
    refused: RefusedFields,
}

impl ChatSse {
    pub(crate) fn new(settings: ModelSettings) -> Result<Self, ModelError> {
        // Whatever the model could do elsewhere, this transport offers it no tools.
        let capability = Capability {
            websocket: false,
            chain: false,
            freeform_lark: false,
            functions: false,
            ..settings.capability()
        };
        Ok(Self {
            capability,
            endpoint: Endpoint::new(&settings, "chat/completions")?,
            refused: RefusedFields::default(),
            settings,
        })
    }

    fn body(&self, request: &CallRequest) -> Value {
        let refused = self.refused.get();
        let mut messages = Vec::new();
        if !request.instructions.is_empty() {
            messages.push(json!({"role": "system", "content": request.instructions}));
        }
        for item in &request.input {
            let (role, text) = match item {
                InputItem::UserText(text) => ("user", text.clone()),
                InputItem::AssistantText(text) => ("assistant", text.clone()),
                InputItem::ToolCall { name, input, .. } => ("assistant", format!("[{name}]\n{input}")),
                InputItem::ToolOutput { output, .. } => ("user", output.clone()),
                InputItem::Carried(_) => continue,
            };
            messages.push(json!({"role": role, "content": text}));
        }
        let mut body = json!({
            "model": request.model.as_deref().unwrap_or(&self.settings.model),
            "messages": messages,
            "stream": true,
        });
        if let Some(fields) = body.as_object_mut() {
            fields.insert("stream_options".into(), json!({"include_usage": true}));
            if let Some(tokens) = request.max_output_tokens {
                fields.insert("max_tokens".into(), tokens.into());
            }
            fields.retain(|name, _| !refused.contains(name));
        }
        body
    }
}

#[async_trait::async_trait]
impl ModelProvider for ChatSse {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn model(&self) -> &str {
        &self.settings.model
    }

    fn capability(&self) -> &Capability {
        &self.capability
    }

    async fn call(&self, request: CallRequest, cancel: CancellationToken) -> Result<EventStream, ModelError> {
        let response = loop {
            match self.endpoint.post(&self.body(&request), &cancel).await {
                Ok(response) => break response,
                Err(PostError::Refused(failure)) => match failure.unsupported_field() {
                    Some(field) if self.refused.add(field) => {}
                    _ => return Err(failure.into_error()),
                },
                Err(PostError::Model(error)) => return Err(error),
            }
        };
        let (sender, cancel, stream) = EventStream::new(&cancel);
        let limit = self.settings.limits.event_silence;
        tokio::spawn(async move {
            let delivery = Delivery::new(sender, cancel);
            let terminal = follow(response, &delivery, limit).await;
            delivery.send(terminal).await;
        });
        Ok(stream)
    }

    async fn warm(&self) -> Result<(), ModelError> {
        Ok(())
    }
}

/// Follows one answer, chunk by chunk.
#[derive(Debug, Default)]
struct ChatReading {
    started: bool,
    text: String,
    finish: Option<DoneReason>,
}

impl ChatReading {
    fn take(&mut self, text: &str, events: &mut Vec<ModelEvent>) -> Result<(), ModelError> {
        let malformed = || ModelError::Malformed { reason: "a chunk is not a JSON object".into() };
        let chunk: Value = serde_json::from_str(text).map_err(|_| malformed())?;
        if !chunk.is_object() {
            return Err(malformed());
        }
        if chunk.get("error").is_some_and(Value::is_object) {
            return Err(WireFailure::read(&chunk).into_error());
        }
        if !std::mem::replace(&mut self.started, true) {
            let id = chunk.get("id").and_then(Value::as_str).unwrap_or_default();
            events.push(ModelEvent::Started { response_id: id.to_owned() });
        }
        if let Some(choice) = chunk.pointer("/choices/0") {
            let piece = |name: &str| {
                choice
                    .pointer(&format!("/delta/{name}"))
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
            };
            if let Some(reasoning) = piece("reasoning_content").or_else(|| piece("reasoning")) {
                events.push(ModelEvent::ReasoningDelta(reasoning.to_owned()));
            }
            if let Some(content) = piece("content") {
                self.text.push_str(content);
                events.push(ModelEvent::TextDelta(content.to_owned()));
            }
            if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
                self.finish = Some(match reason {
                    "stop" | "tool_calls" => DoneReason::Completed,
                    "length" => DoneReason::Length,
                    "content_filter" => DoneReason::Filtered,
                    _ => DoneReason::Other,
                });
            }
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
            events.push(ModelEvent::Usage(Usage {
                input_tokens: count("/prompt_tokens"),
                cached_input_tokens: count("/prompt_tokens_details/cached_tokens"),
                output_tokens: count("/completion_tokens"),
                reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
            }));
        }
        Ok(())
    }

    /// The terminal event once the stream is over. An answer without its finish reason was cut off.
    fn end(self) -> ModelEvent {
        match self.finish {
            Some(reason) => {
                let output =
                    if self.text.is_empty() { vec![] } else { vec![InputItem::AssistantText(self.text)] };
                ModelEvent::Done { reason, output }
            }
            None if self.text.is_empty() => ModelEvent::Failed(ModelError::Retryable {
                reason: "the connection closed before it answered".into(),
            }),
            None => ModelEvent::Failed(ModelError::Closed),
        }
    }
}

/// Reads an answer to its end and returns the terminal event.
async fn follow(response: reqwest::Response, delivery: &Delivery, limit: Duration) -> ModelEvent {
    let mut body = response.bytes_stream();
    let mut parser = SseParser::default();
    let mut reading = ChatReading::default();
    let mut texts = Vec::new();
    let mut events = Vec::new();
    let mut deadline = tokio::time::Instant::now() + limit;
    loop {
        let chunk = tokio::select! {
            biased;
            () = delivery.cancel.cancelled() => return ModelEvent::Failed(ModelError::Interrupted),
            () = tokio::time::sleep_until(deadline) => {
                // Some servers hold the connection open after the last chunk.
                return match reading.finish {
                    Some(_) => reading.end(),
                    None => ModelEvent::Failed(timed_out("answering", limit)),
                };
            }
            chunk = body.next() => chunk,
        };
        let over = match chunk {
            Some(Ok(bytes)) => {
                if let Err(error) = parser.feed(&bytes, &mut texts) {
                    return ModelEvent::Failed(error);
                }
                false
            }
            Some(Err(_)) => true,
            None => {
                texts.extend(parser.end());
                true
            }
        };
        let heard = !texts.is_empty();
        for text in texts.drain(..) {
            if text.trim().is_empty() {
                continue;
            }
            if text.trim() == "[DONE]" {
                return reading.end();
            }
            if let Err(error) = reading.take(&text, &mut events) {
                return ModelEvent::Failed(error);
            }
            if !delivery.deliver(&mut events).await {
                return ModelEvent::Failed(ModelError::Interrupted);
            }
        }
        if over {
            return reading.end();
        }
        if heard {
            deadline = tokio::time::Instant::now() + limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_neutral_events() {
        let mut reading = ChatReading::default();
        let mut events = Vec::new();
        for chunk in [
            json!({"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
            json!({"id": "c1", "choices": [{"delta": {"reasoning_content": "hm"}}]}),
            json!({"id": "c1", "choices": [{"delta": {"content": "Hi"}}]}),
            json!({"id": "c1", "choices": [{"delta": {}, "finish_reason": "length"}]}),
            json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}),
        ] {
            reading.take(&chunk.to_string(), &mut events).unwrap();
        }
        assert_eq!(
            events,
            [
                ModelEvent::Started { response_id: "c1".into() },
                ModelEvent::ReasoningDelta("hm".into()),
                ModelEvent::TextDelta("Hi".into()),
                ModelEvent::Usage(Usage { input_tokens: 4, output_tokens: 2, ..Usage::default() }),
            ]
        );
        let output = vec![InputItem::AssistantText("Hi".into())];
        assert_eq!(reading.end(), ModelEvent::Done { reason: DoneReason::Length, output });
    }

    #[test]
    fn an_answer_without_an_end_was_cut() {
        let mut reading = ChatReading::default();
        reading.take(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#, &mut Vec::new()).unwrap();
        assert_eq!(reading.end(), ModelEvent::Failed(ModelError::Closed));
        let mut reading = ChatReading::default();
        let error = reading.take(r#"{"error":{"message":"x","code":429}}"#, &mut Vec::new()).unwrap_err();
        assert_eq!(error, ModelError::Rejected { reason: "code 429".into() });
    }
}

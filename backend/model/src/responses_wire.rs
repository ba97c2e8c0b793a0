//! The Responses API's JSON, and nothing else.
//!
//! The request goes out as one object; the answer comes in as events, each of them a JSON object, over a
//! WebSocket or as server-sent events alike. [`Reading`] follows one answer. It is lenient where servers differ:
//! unknown events are counted and passed over, indexes and sequence numbers are not needed, and what a server
//! left out of its deltas is taken from its complete items.

mod reading;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};

pub(crate) use self::reading::Reading;
use crate::{
    ModelError,
    capability::Capability,
    event::{DoneReason, ToolKind},
    request::{CallRequest, InputItem, Tool},
    retry::wait_in_message,
};

/// The longest error code or parameter name that is repeated to people, in characters.
const CODE_SHOWN: usize = 64;

/// A request in the API's words, split for chaining: `input` may be cut to what is new, and nothing else differs
/// from call to call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WireRequest {
    /// Every field but `input`, `previous_response_id` and those of a transport.
    pub(crate) fields: Map<String, Value>,
    /// The whole conversation.
    pub(crate) input: Vec<Value>,
}

impl WireRequest {
    /// Puts a request into the API's words, leaving out what the model cannot take or has refused before.
    pub(crate) fn new(
        request: &CallRequest,
        model: &str,
        capability: &Capability,
        refused: &BTreeSet<String>,
    ) -> Self {
        let mut fields = Map::new();
        fields.insert("model".into(), request.model.as_deref().unwrap_or(model).into());
        fields.insert("instructions".into(), request.instructions.as_str().into());
        // Nothing is to be kept at the provider.
        fields.insert("store".into(), false.into());
        // Padding against traffic analysis would cost bytes on every delta.
        fields.insert("stream_options".into(), json!({"include_obfuscation": false}));
        if !request.tools.is_empty() {
            fields.insert("tools".into(), request.tools.iter().map(wire_tool).collect());
        }
        if let Some(tokens) = request.max_output_tokens {
            fields.insert("max_output_tokens".into(), tokens.into());
        }
        if let Some(key) = request.prompt_cache_key.as_deref().filter(|_| capability.prompt_cache_key) {
            fields.insert("prompt_cache_key".into(), key.into());
        }
        if capability.reasoning_summary {
            fields.insert("reasoning".into(), json!({"summary": "auto"}));
            // Without this, reasoning cannot be replayed where nothing is stored.
            fields.insert("include".into(), json!(["reasoning.encrypted_content"]));
        }
        if !request.metadata.is_empty() {
            fields.insert("metadata".into(), json!(request.metadata));
        }
        fields.retain(|name, _| !refused.contains(name));
        Self { fields, input: request.input.iter().map(wire_item).collect() }
    }

    /// The body of a POST.
    pub(crate) fn body(&self) -> Value {
        let mut body = self.fields.clone();
        body.insert("input".into(), self.input.as_slice().into());
        body.insert("stream".into(), true.into());
        Value::Object(body)
    }

    /// The text of a `response.create` frame, which continues `chain` where it can.
    pub(crate) fn frame(&self, chain: Option<&Chain>) -> String {
        let mut frame = self.fields.clone();
        frame.insert("type".into(), "response.create".into());
        match chain.and_then(|chain| Some((chain, self.new_since(chain)?))) {
            Some((chain, new)) => {
                frame.insert("previous_response_id".into(), chain.response_id.as_str().into());
                frame.insert("input".into(), new.into());
            }
            None => {
                frame.insert("input".into(), self.input.as_slice().into());
            }
        }
        Value::Object(frame).to_string()
    }

    /// The part of the input that `chain` does not have, if this request continues it: every other field is
    /// equal, and the input is the last one, then the last output, then something new.
    pub(crate) fn new_since<'a>(&'a self, chain: &Chain) -> Option<&'a [Value]> {
        if self.fields != chain.request.fields {
            return None;
        }
        let rest = self.input.strip_prefix(chain.request.input.as_slice())?;
        let new = rest.strip_prefix(chain.output.as_slice())?;
        (!new.is_empty()).then_some(new)
    }
}

/// What a connection remembers of its last answer, so that the next call can continue it.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// The whole request it answered.
    pub(crate) request: WireRequest,
    /// Its name at the server.
    pub(crate) response_id: String,
    /// What it said, as input items.
    pub(crate) output: Vec<Value>,
}

/// An input item in the API's words.
pub(crate) fn wire_item(item: &InputItem) -> Value {
    match item {
        InputItem::UserText(text) => {
            json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
        }
        InputItem::AssistantText(text) => {
            json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
        }
        InputItem::ToolCall { call_id, name, kind: ToolKind::Custom, input } => {
            json!({"type": "custom_tool_call", "call_id": call_id, "name": name, "input": input})
        }
        InputItem::ToolCall { call_id, name, kind: ToolKind::Function, input } => {
            json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": input})
        }
        InputItem::ToolOutput { call_id, kind: ToolKind::Custom, output } => {
            json!({"type": "custom_tool_call_output", "call_id": call_id, "output": output})
        }
        InputItem::ToolOutput { call_id, kind: ToolKind::Function, output } => {
            json!({"type": "function_call_output", "call_id": call_id, "output": output})
        }
        InputItem::Carried(value) => value.clone(),
    }
}

fn wire_tool(tool: &Tool) -> Value {
    match tool {
        Tool::Custom { name, description, lark } => {
            let format = lark.as_ref().map_or_else(
                || json!({"type": "text"}),
                |lark| json!({"type": "grammar", "syntax": "lark", "definition": lark}),
            );
            json!({"type": "custom", "name": name, "description": description, "format": format})
        }
        Tool::Function { name, description, parameters } => json!({
            "type": "function", "name": name, "description": description,
            "parameters": parameters, "strict": false,
        }),
    }
}

/// How an answer ended, in the API's words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WireEnd {
    /// The model finished or was stopped by a limit.
    Done {
        /// Why it ended.
        reason: DoneReason,
        /// Its name at the server, if it said.
        response_id: Option<String>,
    },
    /// The server reported an error.
    Failed(WireFailure),
}

/// An error as a server reports it, whichever shape it chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WireFailure {
    /// The HTTP status, given or implied.
    pub(crate) status: Option<u16>,
    /// The error's code or type, cut and cleaned so that it can be shown.
    pub(crate) code: Option<String>,
    /// The parameter it is about, cleaned likewise.
    pub(crate) param: Option<String>,
    /// How long to wait, from a header or from the message.
    pub(crate) retry_after: Option<Duration>,
}

impl WireFailure {
    /// Reads every known shape: `error` nested or flat, `status` or `status_code`, headers beside or inside.
    pub(crate) fn read(value: &Value) -> Self {
        let error = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
        let text = |key: &str| error.get(key).or_else(|| value.get(key)).and_then(Value::as_str);
        let status = ["status", "status_code"]
            .iter()
            .find_map(|key| value.get(*key).or_else(|| error.get(*key)).and_then(Value::as_u64))
            .and_then(|status| u16::try_from(status).ok());
        let headers = value.get("headers").or_else(|| error.get("headers"));
        let code = match error.get("code") {
            Some(Value::String(code)) => Some(code.clone()),
            Some(Value::Number(code)) => Some(code.to_string()),
            _ => None,
        };
        // The type of an error event itself is `error` and says nothing.
        let kind = text("type").filter(|kind| *kind != "error").map(str::to_owned);
        Self {
            status,
            code: code.or(kind).as_deref().and_then(shown),
            param: text("param").and_then(shown),
            retry_after: headers
                .and_then(wait_in_headers)
                .or_else(|| text("message").and_then(wait_in_message)),
        }
    }

    /// Whether the server has forgotten the answer that was to be continued.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.code.as_deref() == Some("previous_response_not_found")
    }

    /// Whether another connection would do.
    pub(crate) fn is_connection_limit(&self) -> bool {
        self.code.as_deref() == Some("websocket_connection_limit_reached")
    }

    /// The optional field that this model turned out not to take, if that is what went wrong.
    pub(crate) fn unsupported_field(&self) -> Option<&str> {
        const OPTIONAL: [&str; 6] =
            ["reasoning", "include", "prompt_cache_key", "stream_options", "metadata", "max_output_tokens"];
        let named = matches!(self.code.as_deref(), Some("unsupported_parameter" | "unknown_parameter"));
        let field = self.param.as_deref()?.split(['.', '[']).next()?;
        (named && OPTIONAL.contains(&field)).then_some(field)
    }

    /// What it means to the caller.
    pub(crate) fn into_error(self) -> ModelError {
        let code = self.code.as_deref().unwrap_or_default();
        let rejected = |reason: String| ModelError::Rejected { reason };
        match (code, self.status) {
            ("rate_limit_exceeded" | "rate_limit_error", _) => {
                ModelError::RateLimited { retry_after: self.retry_after }
            }
            ("insufficient_quota" | "usage_not_included", _) => {
                rejected(format!("the account has no quota left ({code})"))
            }
            ("context_length_exceeded", _) => ModelError::ContextTooLong,
            ("model_not_found", _) => rejected("there is no such model (model_not_found)".into()),
            ("invalid_prompt", _) => rejected("its content was not accepted (invalid_prompt)".into()),
            ("invalid_api_key", status) => ModelError::Unauthorized { status: status.unwrap_or(401) },
            (_, Some(status @ (401 | 403))) => ModelError::Unauthorized { status },
            (_, Some(429)) => ModelError::RateLimited { retry_after: self.retry_after },
            ("server_is_overloaded" | "slow_down" | "overloaded_error", _) => {
                ModelError::Retryable { reason: format!("its server is overloaded ({code})") }
            }
            (
                "server_error"
                | "internal_server_error"
                | "previous_response_not_found"
                | "websocket_connection_limit_reached",
                _,
            )
            | (_, Some(500..=599 | 408 | 409)) => ModelError::Retryable { reason: self.described() },
            ("", None) => {
                ModelError::Retryable { reason: "its server reported an error without a code".into() }
            }
            _ => rejected(self.described()),
        }
    }

    fn described(&self) -> String {
        let mut parts = Vec::new();
        if let Some(code) = &self.code {
            parts.push(format!("code {code}"));
        }
        if let Some(param) = &self.param {
            parts.push(format!("parameter {param}"));
        }
        if let Some(status) = self.status {
            parts.push(format!("status {status}"));
        }
        if parts.is_empty() { "its server gave no reason".into() } else { parts.join(", ") }
    }
}

/// A code or a name as it may be shown: short, and only letters, digits and joining signs. Whatever else a server
/// put there might be somebody's text, and is dropped.
fn shown(text: &str) -> Option<String> {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '[' | ']')
    };
    // A key pasted into the wrong place must not come back to the screen.
    let looks_like_key = text.starts_with("sk-");
    (!text.is_empty() && text.len() <= CODE_SHOWN && text.chars().all(plain) && !looks_like_key)
        .then(|| text.to_owned())
}

fn wait_in_headers(headers: &Value) -> Option<Duration> {
    let number = |name: &str| {
        let (_, value) = headers.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let seconds = number("retry-after-ms").map(|wait| wait / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;

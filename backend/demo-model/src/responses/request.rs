//! What a request says, and why it may be refused.

use serde_json::{Value, json};

use crate::{
    Shared,
    fault::{ErrorShape, Fault},
};

/// The longest name of a lane, in characters.
const LANE_NAME: usize = 256;

/// A request for an answer.
#[derive(Debug, Clone)]
pub(crate) struct Create {
    pub(crate) model: String,
    pub(crate) input: Vec<Value>,
    pub(crate) previous: Option<String>,
    pub(crate) tools: Vec<Value>,
    pub(crate) instructions: Option<String>,
    pub(crate) generate: bool,
    pub(crate) store: bool,
    pub(crate) stream: bool,
    pub(crate) lane: Option<String>,
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) metadata: Value,
    pub(crate) fault: Option<Fault>,
}

/// A request that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
}

impl Refusal {
    pub(crate) fn invalid(message: impl Into<String>, param: Option<&str>) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: None,
            message: message.into(),
            param: param.map(str::to_owned),
        }
    }

    pub(crate) fn coded(status: u16, code: &str, message: impl Into<String>, param: Option<&str>) -> Self {
        Self { status, code: Some(code.to_owned()), ..Self::invalid(message, param) }
    }

    /// The `error` object.
    pub(crate) fn error(&self) -> Value {
        json!({"type": self.kind, "code": self.code, "message": self.message, "param": self.param})
    }

    /// The event that ends a request on a WebSocket.
    pub(crate) fn event(&self, lane: Option<&str>) -> Value {
        let mut event = json!({"type": "error", "status": self.status, "error": self.error()});
        if let Some(lane) = lane {
            event["stream_id"] = lane.into();
        }
        event
    }
}

/// What a client's message asks for.
pub(crate) fn read_create(body: &Value, shared: &Shared) -> Result<Create, Refusal> {
    let text = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::invalid(format!("'{name}' must be a string."), Some(name))),
    };
    let flag = |name: &str, default: bool| match body.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::invalid(format!("'{name}' must be true or false."), Some(name))),
    };
    let model = text("model")?
        .filter(|model| !model.is_empty())
        .ok_or_else(|| Refusal::invalid("Missing required parameter: 'model'.", Some("model")))?;
    let input = match body.get("input") {
        None | Some(Value::Null) => vec![],
        Some(Value::String(text)) => {
            vec![
                json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}),
            ]
        }
        Some(Value::Array(items)) => items.clone(),
        Some(_) => return Err(Refusal::invalid("'input' must be a string or an array.", Some("input"))),
    };
    let previous = text("previous_response_id")?;
    if previous.is_some() && body.get("conversation").is_some_and(|conversation| !conversation.is_null()) {
        return Err(Refusal::invalid(
            "'previous_response_id' and 'conversation' cannot both be given.",
            Some("conversation"),
        ));
    }
    let tools = match body.get("tools") {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(tools)) => tools.clone(),
        Some(_) => return Err(Refusal::invalid("'tools' must be an array.", Some("tools"))),
    };
    let lane = text("stream_id")?;
    if let Some(lane) = &lane {
        let plain =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-');
        if lane.is_empty() || lane.len() > LANE_NAME || !lane.chars().all(plain) {
            return Err(Refusal::coded(400, "invalid_stream_id", "Invalid 'stream_id'.", Some("stream_id")));
        }
    }
    let metadata = body.get("metadata").cloned().unwrap_or(Value::Null);
    let named = metadata.get("fault").and_then(Value::as_str).and_then(Fault::parse);
    Ok(Create {
        model,
        input,
        previous,
        tools,
        instructions: text("instructions")?,
        generate: flag("generate", true)?,
        store: flag("store", true)?,
        stream: flag("stream", false)?,
        lane,
        max_output_tokens: body.get("max_output_tokens").and_then(Value::as_u64),
        fault: named.or_else(|| shared.options.faults.take()),
        metadata,
    })
}

/// The refusal that a fault stands for, if it is one that refuses the request as a whole.
pub(crate) fn refused_by_fault(create: &Create, body: &Value) -> Option<Refusal> {
    match create.fault.as_ref()? {
        Fault::RateLimit => Some(Refusal {
            kind: "rate_limit_error",
            ..Refusal::coded(
                429,
                "rate_limit_exceeded",
                "Rate limit reached for demo. Please try again in 1.5s.",
                None,
            )
        }),
        Fault::Forget => create.previous.as_deref().map(not_found),
        Fault::ConnectionLimit => Some(connection_limit()),
        Fault::Unsupported { field } if body.get(field).is_some() => Some(Refusal::coded(
            400,
            "unsupported_parameter",
            format!("Unsupported parameter: '{field}' is not supported with this model."),
            Some(field),
        )),
        Fault::Error { shape: ErrorShape::Nested, code, after: 0 } => {
            Some(Refusal::coded(500, code, "The server had an error.", None))
        }
        _ => None,
    }
}

/// The refusal of a request that continues something unknown.
pub(crate) fn not_found(id: &str) -> Refusal {
    Refusal::coded(
        400,
        "previous_response_not_found",
        format!("Previous response with id '{id}' not found."),
        Some("previous_response_id"),
    )
}

/// The refusal of a request on a connection that is too old.
pub(crate) fn connection_limit() -> Refusal {
    Refusal::coded(
        400,
        "websocket_connection_limit_reached",
        "This connection has reached its limit; open a new one.",
        None,
    )
}

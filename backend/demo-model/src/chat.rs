//! Chat Completions, streamed or whole. Tools are not offered here, so a patch comes as fenced text.

use std::sync::{Arc, atomic::Ordering};

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    Counts, Shared,
    fault::Fault,
    http::{self, Body, json_response, refusal_response},
    pace::{self, Pace},
    responses::{MODEL, Refusal},
    rules,
    sse::{cut, send_chunks},
};

/// Byte chunks that may wait for the connection.
const WAITING: usize = 64;

/// Answers a POST to `/v1/chat/completions`.
pub(crate) fn respond(body: &Value, shared: Arc<Shared>) -> Response<Body> {
    let Some(messages) = body.get("messages").and_then(Value::as_array) else {
        return refusal_response(&Refusal::invalid(
            "Missing required parameter: 'messages'.",
            Some("messages"),
        ));
    };
    let Some(model) = body.get("model").and_then(Value::as_str) else {
        return refusal_response(&Refusal::invalid("Missing required parameter: 'model'.", Some("model")));
    };
    shared.options.stats.counts().calls.fetch_add(1, Ordering::AcqRel);
    let fault = shared.options.faults.take();
    if fault == Some(Fault::RateLimit) {
        return refusal_response(&Refusal::coded(
            429,
            "rate_limit_exceeded",
            "Rate limit reached for demo. Please try again in 1.5s.",
            None,
        ));
    }
    let answer = rules::answer(messages, shared.options.obedience);
    let text = answer.patch.map_or_else(|| answer.text.clone(), |patch| rules::fenced(&answer.text, &patch));
    let read: u64 = messages.iter().map(|message| pace::count(&message.to_string())).sum();
    let id = shared.id("chatcmpl");
    let created = shared.now();
    let model = model.to_owned();
    let usage = move |written: u64| json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written});
    if body.get("stream").and_then(Value::as_bool) != Some(true) {
        let written = pace::tokens(&text).count() as u64;
        return json_response(
            StatusCode::OK,
            &json!({"id": id, "object": "chat.completion", "created": created, "model": model,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop"}],
                "usage": usage(written)}),
        );
    }
    let wants_usage = body.pointer("/stream_options/include_usage").and_then(Value::as_bool) == Some(true);
    let limit = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|name| body.get(*name).and_then(Value::as_u64))
        .unwrap_or(u64::MAX);
    let (bytes, stream) = http::channel_body(WAITING);
    tokio::spawn(async move {
        let options = &shared.options;
        let _answering = options.stats.during(|counts: &Counts| &counts.answering);
        let chunk = |choices: Value, usage: Value| {
            let chunk = json!({"id": id, "object": "chat.completion.chunk", "created": created,
                "model": model, "choices": choices, "usage": usage});
            format!("data: {chunk}\n\n").into_bytes()
        };
        let write = async {
            let mut pace = Pace::new(options.tokens_per_second, options.first_token_delay);
            let mut written = 0;
            let mut finish = "stop";
            let first = json!([{"index": 0, "delta": {"role": "assistant", "content": ""},
                "finish_reason": null}]);
            if !send_chunks(&bytes, &chunk(first, Value::Null), options.chunk_bytes).await {
                return;
            }
            for token in pace::tokens(&text) {
                match fault {
                    Some(Fault::Stall { after }) if u64::from(after) == written => {
                        std::future::pending::<()>().await;
                    }
                    Some(Fault::Cut { after }) if u64::from(after) == written => {
                        cut(&bytes).await;
                        return;
                    }
                    _ => {}
                }
                if written >= limit {
                    finish = "length";
                    break;
                }
                pace.next_token().await;
                let choices = json!([{"index": 0, "delta": {"content": token}, "finish_reason": null}]);
                if !send_chunks(&bytes, &chunk(choices, Value::Null), options.chunk_bytes).await {
                    return;
                }
                written += 1;
            }
            let last = json!([{"index": 0, "delta": {}, "finish_reason": finish}]);
            let mut rest = chunk(last, Value::Null);
            if wants_usage {
                rest.extend(chunk(json!([]), usage(written)));
            }
            rest.extend_from_slice(b"data: [DONE]\n\n");
            send_chunks(&bytes, &rest, options.chunk_bytes).await;
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => {}
            () = bytes.closed() => {}
            () = write => {}
        }
    });
    http::event_stream(stream)
}

/// The body of `GET /v1/models`.
pub(crate) fn models() -> Value {
    json!({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "ensemble"}]})
}

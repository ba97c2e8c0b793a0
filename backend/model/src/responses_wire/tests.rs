use super::*;
use crate::event::{ModelEvent, Usage};

fn read(events: &[Value]) -> (Vec<ModelEvent>, Option<WireEnd>, Reading) {
    let mut reading = Reading::default();
    let mut seen = Vec::new();
    let mut end = None;
    for event in events {
        end = reading.take(&event.to_string(), &mut seen).unwrap();
    }
    (seen, end, reading)
}

fn tool_begin(item: u32) -> ModelEvent {
    ModelEvent::ToolBegin {
        item,
        call_id: "call_1".into(),
        name: "apply_patch".into(),
        kind: ToolKind::Custom,
    }
}

#[test]
fn a_whole_answer_becomes_neutral_events() {
    let (events, end, mut reading) = read(&[
        json!({"type": "response.created", "response": {"id": "resp_1"}, "sequence_number": 0}),
        json!({"type": "response.in_progress", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg_1", "type": "message"}}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Hel"}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": "lo"}),
        json!({"type": "response.output_item.done", "output_index": 0,
            "item": {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "Hello"}]}}),
        json!({"type": "response.output_item.added", "output_index": 1,
            "item": {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch"}}),
        json!({"type": "response.custom_tool_call_input.delta", "item_id": "ctc_1", "delta": "*** Be"}),
        json!({"type": "response.custom_tool_call_input.delta", "item_id": "ctc_1", "delta": "gin"}),
        json!({"type": "response.custom_tool_call_input.done", "item_id": "ctc_1", "input": "*** Begin"}),
        json!({"type": "response.output_item.done", "output_index": 1,
            "item": {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch",
                "input": "*** Begin"}}),
        json!({"type": "codex.rate_limits", "delta": {"not": "text"}}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "usage": {"input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 5}}}),
    ]);
    assert_eq!(
        events,
        [
            ModelEvent::Started { response_id: "resp_1".into() },
            ModelEvent::TextDelta("Hel".into()),
            ModelEvent::TextDelta("lo".into()),
            tool_begin(1),
            ModelEvent::ToolInputDelta { item: 1, delta: "*** Be".into() },
            ModelEvent::ToolInputDelta { item: 1, delta: "gin".into() },
            ModelEvent::ToolEnd { item: 1, input: "*** Begin".into() },
            ModelEvent::Usage(Usage {
                input_tokens: 7,
                cached_input_tokens: 3,
                output_tokens: 5,
                reasoning_tokens: 0
            }),
        ]
    );
    assert_eq!(
        end,
        Some(WireEnd::Done { reason: DoneReason::Completed, response_id: Some("resp_1".into()) })
    );
    assert_eq!(reading.passed_over(), 1);
    assert_eq!(
        reading.take_output(),
        [
            InputItem::AssistantText("Hello".into()),
            InputItem::ToolCall {
                call_id: "call_1".into(),
                name: "apply_patch".into(),
                kind: ToolKind::Custom,
                input: "*** Begin".into()
            }
        ]
    );
}

#[test]
fn ids_indexes_and_announcements_may_be_missing() {
    let (events, end, mut reading) = read(&[
        json!({"type": "response.output_text.delta", "delta": "Hi"}),
        json!({"type": "response.output_item.done",
            "item": {"type": "message", "content": [{"type": "output_text", "text": "Hi there"}]}}),
        json!({"type": "response.output_item.added",
            "item": {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch"}}),
        json!({"type": "response.custom_tool_call_input.delta", "delta": "abc"}),
        json!({"type": "response.completed"}),
    ]);
    assert_eq!(
        events,
        [
            ModelEvent::TextDelta("Hi".into()),
            ModelEvent::TextDelta(" there".into()),
            tool_begin(1),
            ModelEvent::ToolInputDelta { item: 1, delta: "abc".into() },
            ModelEvent::Started { response_id: String::new() },
            ModelEvent::ToolEnd { item: 1, input: "abc".into() },
        ]
    );
    assert_eq!(end, Some(WireEnd::Done { reason: DoneReason::Completed, response_id: None }));
    assert_eq!(reading.take_output().len(), 2);
}

#[test]
fn an_item_without_deltas_is_taken_from_its_end() {
    let (events, _, _) = read(&[json!({"type": "response.output_item.done", "output_index": 0,
        "item": {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch",
            "input": "all"}})]);
    assert_eq!(
        events,
        [
            tool_begin(0),
            ModelEvent::ToolInputDelta { item: 0, delta: "all".into() },
            ModelEvent::ToolEnd { item: 0, input: "all".into() }
        ]
    );
}

#[test]
fn a_cut_off_item_has_no_end() {
    let (events, end, _) = read(&[
        json!({"type": "response.output_item.added", "output_index": 0,
            "item": {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch"}}),
        json!({"type": "response.custom_tool_call_input.delta", "item_id": "ctc_1", "delta": "abc"}),
        json!({"type": "response.incomplete",
            "response": {"id": "r", "incomplete_details": {"reason": "max_output_tokens"}}}),
    ]);
    assert!(!events.iter().any(|event| matches!(event, ModelEvent::ToolEnd { .. })));
    assert!(matches!(end, Some(WireEnd::Done { reason: DoneReason::Length, .. })));
}

#[test]
fn every_error_shape_is_read() {
    let rate_limited = |seconds| ModelError::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    let cases = [
        (
            json!({"type": "error", "status": 429, "error": {"type": "rate_limit_error",
                "code": "rate_limit_exceeded", "message": "try again in 11s."}}),
            rate_limited(11),
        ),
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "try again in 2s", "param": null}),
            rate_limited(2),
        ),
        (
            json!({"type": "error", "status_code": 429, "headers": {"Retry-After": "3"},
                "error": {"message": "no"}}),
            rate_limited(3),
        ),
        (
            json!({"type": "response.failed", "response": {"error": {"code": "context_length_exceeded",
                "message": "too long"}}}),
            ModelError::ContextTooLong,
        ),
        (
            json!({"type": "error", "error": {"code": "server_is_overloaded"}}),
            ModelError::Retryable { reason: "its server is overloaded (server_is_overloaded)".into() },
        ),
        (json!({"type": "error", "status": 401, "error": {}}), ModelError::Unauthorized { status: 401 }),
        (
            json!({"type": "error", "status": 400, "error": {"code": "sk-proj-secret canary", "param": "x"}}),
            ModelError::Rejected { reason: "parameter x, status 400".into() },
        ),
    ];
    for (event, expected) in cases {
        let (_, end, _) = read(std::slice::from_ref(&event));
        let Some(WireEnd::Failed(failure)) = end else { panic!("{event} ended {end:?}") };
        assert_eq!(failure.into_error(), expected, "{event}");
    }
}

#[test]
fn what_is_not_an_object_is_malformed() {
    let mut reading = Reading::default();
    for text in ["", "[]", "{\"type\":", "\"text\"", "\u{0}"] {
        assert!(reading.take(text, &mut Vec::new()).is_err(), "{text}");
    }
}

fn request(items: &[&str]) -> CallRequest {
    CallRequest {
        instructions: "Be brief.".into(),
        input: items.iter().map(|text| InputItem::UserText((*text).into())).collect(),
        ..CallRequest::default()
    }
}

fn wire(request: &CallRequest) -> WireRequest {
    WireRequest::new(request, "demo", &Capability::of("demo"), &BTreeSet::new())
}

#[test]
fn a_continued_request_sends_only_what_is_new() {
    let said = InputItem::AssistantText("yes".into());
    let chain = Chain {
        request: wire(&request(&["one"])),
        response_id: "resp_1".into(),
        output: vec![wire_item(&said)],
    };
    let mut next = request(&["one"]);
    next.input.push(said);
    next.input.push(InputItem::UserText("two".into()));
    let frame: Value = serde_json::from_str(&wire(&next).frame(Some(&chain))).unwrap();
    assert_eq!(frame["previous_response_id"], "resp_1");
    assert_eq!(frame["input"], json!([wire_item(&InputItem::UserText("two".into()))]));
    assert_eq!(frame["store"], false);
    assert_eq!(frame["instructions"], "Be brief.");

    let mut other = next.clone();
    other.instructions = "Be long.".into();
    for request in [other, request(&["one", "two"]), request(&["one"])] {
        let frame: Value = serde_json::from_str(&wire(&request).frame(Some(&chain))).unwrap();
        assert_eq!(frame.get("previous_response_id"), None);
        assert_eq!(frame["input"].as_array().unwrap().len(), request.input.len());
    }
}

#[test]
fn tools_and_refused_fields_reach_the_wire_as_they_should() {
    let mut call = request(&["one"]);
    call.tools = vec![
        Tool::Custom { name: "apply_patch".into(), description: "d".into(), lark: Some("start: x".into()) },
        Tool::Function {
            name: "open".into(),
            description: "d".into(),
            parameters: json!({"type": "object"}),
        },
    ];
    call.prompt_cache_key = Some("p".into());
    let body = wire(&call).body();
    assert_eq!(
        body["tools"][0]["format"],
        json!({"type": "grammar", "syntax": "lark", "definition": "start: x"})
    );
    assert_eq!(body["tools"][1]["type"], "function");
    assert_eq!(body["stream"], true);
    assert_eq!(body["prompt_cache_key"], "p");
    assert_eq!(body.get("reasoning"), None);
    assert_eq!(body["stream_options"]["include_obfuscation"], false);

    let refused = BTreeSet::from(["prompt_cache_key".to_owned()]);
    let body = WireRequest::new(&call, "demo", &Capability::of("demo"), &refused).body();
    assert_eq!(body.get("prompt_cache_key"), None);
}

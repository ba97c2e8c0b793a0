//! The server's side of the Responses protocol, seen by a plain WebSocket client.

use std::time::Duration;

use ensemble_demo_model::{DemoModel, DemoOptions};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    _stop: DropGuard,
}

impl Client {
    async fn connect(options: DemoOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("ws://{}/v1/responses", listener.local_addr().expect("it is bound"));
        let stop = CancellationToken::new();
        tokio::spawn(DemoModel::serve(listener, options, stop.clone()));
        let (socket, _) = connect_async(url).await.expect("the server accepts");
        Self { socket, _stop: stop.drop_guard() }
    }

    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("the connection is open");
    }

    async fn next(&mut self) -> Value {
        let next = async {
            loop {
                match self.socket.next().await.expect("the connection is open").expect("it is sound") {
                    Message::Text(text) => return serde_json::from_str(&text).expect("events are JSON"),
                    other => assert!(other.is_ping() || other.is_pong(), "{other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("an event comes")
    }

    /// All events up to the end of one answer.
    async fn answer(&mut self, message: Value) -> Vec<Value> {
        self.send(message).await;
        self.rest().await
    }

    async fn rest(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let over = is_terminal(&event);
            events.push(event);
            if over {
                return events;
            }
        }
    }
}

fn is_terminal(event: &Value) -> bool {
    matches!(
        event["type"].as_str(),
        Some("response.completed" | "response.incomplete" | "response.failed" | "error")
    )
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    kinds.dedup();
    kinds
}

fn quick() -> DemoOptions {
    DemoOptions { tokens_per_second: 0, first_token_delay: Duration::ZERO, ..DemoOptions::default() }
}

fn create(text: &str) -> Value {
    json!({"type": "response.create", "model": "demo", "store": false, "input": text})
}

fn rename() -> Value {
    let mut message = create(
        "<document path=\"a.py\" lines=\"1\">\nx = 1\n</document>\n<prompt>\nrename x to y\n</prompt>",
    );
    message["tools"] = json!([{"type": "custom", "name": "apply_patch", "format": {"type": "text"}}]);
    message
}

#[tokio::test]
async fn events_come_in_the_order_of_the_protocol() {
    let mut client = Client::connect(quick()).await;
    let events = client.answer(rename()).await;
    assert_eq!(
        kinds(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["id"], events[0]["response"]["id"]);
    assert_eq!(
        response["output"][1]["input"],
        "*** Begin Patch\n*** Update File: a.py\n@@\n-x = 1\n+y = 1\n*** End Patch\n"
    );
    let usage = &response["usage"];
    assert!(usage["output_tokens"].as_u64().unwrap() > 5 && usage["input_tokens"].as_u64().unwrap() > 5);
    let joined: String = events
        .iter()
        .filter(|event| event["type"] == "response.custom_tool_call_input.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(response["output"][1]["input"], joined);
}

#[tokio::test]
async fn a_warm_up_says_nothing_and_can_be_continued() {
    let mut client = Client::connect(quick()).await;
    let mut message = rename();
    message["generate"] = false.into();
    let events = client.answer(message).await;
    assert_eq!(kinds(&events), ["response.created", "response.completed"]);
    assert_eq!(events[1]["response"]["output"], json!([]));
    let mut next = create("<prompt>\nrename x to z\n</prompt>");
    next["previous_response_id"] = events[1]["response"]["id"].clone();
    let events = client.answer(next).await;
    let text = &events.last().unwrap()["response"]["output"][0]["content"][0]["text"];
    assert!(text.as_str().unwrap().contains("+z = 1"), "{text}");
}

#[tokio::test]
async fn only_the_latest_answer_of_a_lane_can_be_continued() {
    let mut client = Client::connect(quick()).await;
    let first = client.answer(create("hello")).await.pop().unwrap()["response"]["id"].clone();
    let second = client.answer(create("hello")).await.pop().unwrap()["response"]["id"].clone();
    let mut old = create("hello");
    old["previous_response_id"] = first;
    let error = client.answer(old).await.pop().unwrap();
    assert_eq!(error["error"]["code"], "previous_response_not_found");
    assert_eq!((error["status"].as_u64(), error["type"].as_str()), (Some(400), Some("error")));
    // The failure has taken along what the lane remembered.
    let mut latest = create("hello");
    latest["previous_response_id"] = second;
    let error = client.answer(latest).await.pop().unwrap();
    assert_eq!(error["error"]["code"], "previous_response_not_found");

    let mut stored = create("hello");
    stored["store"] = true.into();
    let stored = client.answer(stored).await.pop().unwrap()["response"]["id"].clone();
    client.answer(create("hello")).await;
    let mut old = create("hello");
    old["previous_response_id"] = stored;
    assert_eq!(client.answer(old).await.pop().unwrap()["type"], "response.completed");
}

#[tokio::test]
async fn one_lane_is_in_order_and_lanes_go_side_by_side() {
    let mut client = Client::connect(DemoOptions { tokens_per_second: 500, ..quick() }).await;
    for lane in [None, None, Some("side")] {
        let mut message = create("hello");
        if let Some(lane) = lane {
            message["stream_id"] = lane.into();
        }
        client.send(message).await;
    }
    let mut started = Vec::new();
    let mut ended = Vec::new();
    while ended.len() < 3 {
        let event = client.next().await;
        let lane = event.get("stream_id").and_then(Value::as_str).unwrap_or("default").to_owned();
        if event["type"] == "response.created" {
            started.push((lane.clone(), ended.len()));
        }
        if is_terminal(&event) {
            ended.push(lane);
        }
    }
    let defaults: Vec<usize> =
        started.iter().filter(|(lane, _)| lane == "default").map(|(_, ended)| *ended).collect();
    assert_eq!(started.iter().find(|(lane, _)| lane == "side").unwrap().1, 0, "the side lane did not wait");
    assert_eq!(defaults[0], 0);
    assert!(defaults[1] >= 1, "the second waited for the first");
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_the_connection_lives_on() {
    let mut client = Client::connect(quick()).await;
    let mut lane = create("hello");
    lane["stream_id"] = "not a lane".into();
    let mut both = create("hello");
    both["previous_response_id"] = "resp_1".into();
    both["conversation"] = "conv_1".into();
    let cases = [
        (json!({"type": "response.cancel"}), None),
        (json!({"type": "response.create", "input": "hello"}), None),
        (json!({"type": "response.create", "model": "demo", "input": 5}), None),
        (json!({"type": "response.create", "model": "demo", "tools": {}}), None),
        (lane, Some("invalid_stream_id")),
        (both, None),
    ];
    for (message, code) in cases {
        let event = client.answer(message.clone()).await.pop().unwrap();
        assert_eq!(event["type"], "error", "{message}");
        assert_eq!(event["status"], 400);
        assert_eq!(event["error"]["type"], "invalid_request_error");
        assert_eq!(event["error"]["code"].as_str(), code, "{message}");
    }
    client.socket.send(Message::text("{not json")).await.unwrap();
    assert_eq!(client.next().await["type"], "error");
    client.socket.send(Message::Binary(vec![1, 2].into())).await.unwrap();
    assert_eq!(client.next().await["type"], "error");
    assert_eq!(client.answer(create("hello")).await.pop().unwrap()["type"], "response.completed");
}

#[tokio::test]
async fn an_old_connection_takes_no_more_requests() {
    let mut client = Client::connect(DemoOptions { connection_age: Duration::ZERO, ..quick() }).await;
    let event = client.answer(create("hello")).await.pop().unwrap();
    assert_eq!(event["error"]["code"], "websocket_connection_limit_reached");
}

#[tokio::test]
async fn closing_stops_every_answer() {
    let options = DemoOptions { tokens_per_second: 1, ..quick() };
    let stats = options.stats.clone();
    let mut client = Client::connect(options).await;
    for lane in ["a", "b"] {
        let mut message = create("hello");
        message["stream_id"] = lane.into();
        client.send(message).await;
    }
    let wait = async |count| {
        while stats.answering() != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait(2)).await.expect("both are under way");
    client.socket.close(None).await.unwrap();
    tokio::time::timeout(PATIENCE, wait(0)).await.expect("both have stopped");
}

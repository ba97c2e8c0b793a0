//! The Responses API over HTTP: server-sent events, or the whole answer at once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Response, StatusCode, body::Frame as BodyFrame};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    REMEMBERED_BYTES, Remembered, Shared,
    http::{self, Body, Cut, json_response, refusal_response},
    responses::{self, Frame},
    websocket::size,
};

/// Events and byte chunks that may wait for the connection.
const WAITING: usize = 64;
/// The pause before a connection is dropped on purpose: long enough for hyper to flush what was sent.
const CUT_PAUSE: Duration = Duration::from_millis(20);

/// Answers a POST to `/v1/responses`.
pub(crate) async fn respond(body: &Value, shared: Arc<Shared>) -> Response<Body> {
    let create = match responses::read_create(body, &shared) {
        Ok(create) => create,
        Err(refusal) => return refusal_response(&refusal),
    };
    if let Some(refusal) = responses::refused_by_fault(&create, body) {
        return refusal_response(&refusal);
    }
    let mut conversation = vec![];
    if let Some(previous) = &create.previous {
        match shared.stored(previous) {
            Some(remembered) => conversation = remembered.items,
            None => return refusal_response(&responses::not_found(previous)),
        }
    }
    conversation.extend(create.input.iter().cloned());
    let id = shared.id("resp");
    let (out, mut frames) = mpsc::channel(WAITING);
    let (stream, store) = (create.stream, create.store);
    let answer = responses::respond(create, conversation, id.clone(), Arc::clone(&shared), out);
    if !stream {
        let whole = async {
            let mut last = None;
            while let Some(frame) = frames.recv().await {
                match frame {
                    Frame::Event(event) => last = Some(event),
                    Frame::Over(items) => keep(&shared, &id, store, items),
                    Frame::Broken(_) | Frame::Binary | Frame::Cut => last = None,
                }
            }
            last
        };
        let ((), last) = tokio::join!(answer, whole);
        return match last.as_ref().and_then(|event| event.get("response")) {
            Some(response) => json_response(StatusCode::OK, response),
            None => json_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                &serde_json::json!({"error": {"type": "server_error", "code": "server_error",
                    "message": "The server had an error.", "param": null}}),
            ),
        };
    }
    let (bytes, body) = http::channel_body(WAITING);
    tokio::spawn(async move {
        let write = async {
            while let Some(frame) = frames.recv().await {
                let text = match frame {
                    Frame::Event(event) => {
                        let kind = event.get("type").and_then(Value::as_str).unwrap_or("message");
                        format!("event: {kind}\ndata: {event}\n\n").into_bytes()
                    }
                    Frame::Broken(text) => format!("data: {text}\n\n").into_bytes(),
                    Frame::Binary => b"data: \xff\xfe\n\n".to_vec(),
                    Frame::Cut => {
                        cut(&bytes).await;
                        return;
                    }
                    Frame::Over(items) => {
                        keep(&shared, &id, store, items);
                        continue;
                    }
                };
                if !send_chunks(&bytes, &text, shared.options.chunk_bytes).await {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => {}
            // The client is gone: stop at once, even in the middle of a pause.
            () = bytes.closed() => {}
            ((), ()) = async { tokio::join!(answer, write) } => {}
        }
    });
    http::event_stream(body)
}

/// Sends bytes in chunks of the given size, or all together. Returns whether the client is still there.
pub(crate) async fn send_chunks(
    bytes: &mpsc::Sender<Result<BodyFrame<Bytes>, Cut>>,
    text: &[u8],
    size: Option<usize>,
) -> bool {
    for chunk in text.chunks(size.unwrap_or(text.len()).max(1)) {
        if bytes.send(Ok(BodyFrame::data(Bytes::copy_from_slice(chunk)))).await.is_err() {
            return false;
        }
    }
    true
}

/// Drops the connection, once what was sent before is on its way.
pub(crate) async fn cut(bytes: &mpsc::Sender<Result<BodyFrame<Bytes>, Cut>>) {
    tokio::time::sleep(CUT_PAUSE).await;
    // An error in the body makes the server drop the connection; a client that is gone has its wish already.
    let _ = bytes.send(Err(Cut)).await;
}

fn keep(shared: &Shared, id: &str, store: bool, items: Option<Vec<Value>>) {
    if let Some(items) = items.filter(|items| store && size(items) <= REMEMBERED_BYTES) {
        shared.store(Remembered { id: id.to_owned(), items });
    }
}

//! Routes, and what all answers over HTTP share.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{
        ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
        SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{Shared, chat, responses::Refusal, sse, websocket};

/// The largest request body, in bytes: more than the largest window of any model.
const BODY_SIZE: usize = 16 * 1024 * 1024;
/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Cut>;

/// The body ends here, and the connection with it.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

/// Serves one TCP connection until it closes, including the WebSocket it may become.
pub(crate) async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Small frames must not wait for more.
    let _ = stream.set_nodelay(true);
    let (sockets, mut socket) = mpsc::channel(1);
    let shutdown = shared.shutdown.clone();
    let service = {
        let shared = Arc::clone(&shared);
        service_fn(move |request| {
            let shared = Arc::clone(&shared);
            let sockets = sockets.clone();
            async move { Ok::<_, Infallible>(route(request, shared, sockets).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        served = connection => {
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
    if let Some(upgrade) = socket.recv().await
        && let Ok(upgraded) = hyper::upgrade::on::<Request<Incoming>>(upgrade).await
    {
        websocket::serve(upgraded, shared).await;
    }
}

async fn route(
    mut request: Request<Incoming>,
    shared: Arc<Shared>,
    sockets: mpsc::Sender<Request<Incoming>>,
) -> Response<Body> {
    if !is_allowed(&request, &shared) {
        return refusal_response(&Refusal::coded(
            401,
            "invalid_api_key",
            "Incorrect API key provided.",
            None,
        ));
    }
    let path = request.uri().path().trim_end_matches('/').to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/models") => json_response(StatusCode::OK, &chat::models()),
        (&Method::GET, "/v1/responses") => upgrade(request, &shared, &sockets),
        (&Method::POST, "/v1/responses") => match read_json(&mut request).await {
            Ok(body) => sse::respond(&body, shared).await,
            Err(refusal) => refusal_response(&refusal),
        },
        (&Method::POST, "/v1/chat/completions") => match read_json(&mut request).await {
            Ok(body) => chat::respond(&body, shared),
            Err(refusal) => refusal_response(&refusal),
        },
        (_, "/v1/models" | "/v1/responses" | "/v1/chat/completions") => {
            let allowed = if path == "/v1/models" { "GET" } else { "GET, POST" };
            let mut response =
                refusal_response(&Refusal { status: 405, ..Refusal::invalid("Method not allowed.", None) });
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
        _ => refusal_response(&Refusal { status: 404, ..Refusal::invalid("There is nothing here.", None) }),
    }
}

fn is_allowed(request: &Request<Incoming>, shared: &Shared) -> bool {
    let Some(key) = &shared.options.api_key else { return true };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|given| given.strip_prefix("Bearer ")) == Some(key.as_str())
}

fn upgrade(
    request: Request<Incoming>,
    shared: &Shared,
    sockets: &mpsc::Sender<Request<Incoming>>,
) -> Response<Body> {
    let headers = request.headers();
    let has = |name, word: &str| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let asks = has(UPGRADE, "websocket") && has(CONNECTION, "upgrade") && has(SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let (true, Some(accept)) = (asks, key) else {
        let refusal = Refusal { status: 426, ..Refusal::invalid("Upgrade to a WebSocket, or POST.", None) };
        return refusal_response(&refusal);
    };
    if let Some(status) = shared.options.refuse_upgrades {
        return refusal_response(&Refusal {
            status,
            ..Refusal::invalid("There is no WebSocket here.", None)
        });
    }
    let Ok(accept) = HeaderValue::try_from(accept) else {
        return refusal_response(&Refusal::invalid("The WebSocket key is not valid.", None));
    };
    if sockets.try_send(request).is_err() {
        return refusal_response(&Refusal::invalid("This connection is upgraded already.", None));
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn read_json(request: &mut Request<Incoming>) -> Result<Value, Refusal> {
    let body = Limited::new(request.body_mut(), BODY_SIZE).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Refusal { status: 413, ..Refusal::invalid("The request is too large.", None) }
        } else {
            Refusal::invalid("The request ended early.", None)
        }
    })?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| Refusal::invalid("The body is not valid JSON.", None))
}

/// An answer of one JSON value.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that refuses, with the wait as a header where there is one.
pub(crate) fn refusal_response(refusal: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = json_response(status, &json!({"error": refusal.error()}));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// A streamed body and the sender of its bytes.
pub(crate) fn channel_body(waiting: usize) -> (mpsc::Sender<Result<Frame<Bytes>, Cut>>, Body) {
    let (sender, mut receiver) = mpsc::channel(waiting);
    let frames = stream::poll_fn(move |context| receiver.poll_recv(context));
    (sender, StreamBody::new(frames.fuse()).boxed_unsync())
}

/// An answer of server-sent events.
pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync()
}

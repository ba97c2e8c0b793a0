//! Addresses, keys and failures, shared by the transports.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{
    StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    ModelError,
    event::ModelEvent,
    responses_wire::WireFailure,
    retry::{Backoff, CONNECT_ATTEMPTS},
    settings::ModelSettings,
};

/// The longest error body that is read, in bytes. Error objects are far smaller.
const ERROR_BODY: usize = 64 * 1024;

/// Whether an HTTP address is asked for, or the WebSocket one beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    WebSocket,
}

/// The address of one endpoint below the base URL.
pub(crate) fn endpoint(base_url: &str, path: &str, scheme: Scheme) -> Result<Url, ModelError> {
    let wrong = |reason: &str| ModelError::Misconfigured { reason: format!("the base URL {reason}") };
    let mut url = Url::parse(base_url).map_err(|_| wrong("is not an address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not contain a user name or password"));
    }
    let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&joined);
    if scheme == Scheme::WebSocket {
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        url.set_scheme(scheme).map_err(|()| wrong("cannot be used for a WebSocket"))?;
    }
    Ok(url)
}

/// The headers every request carries. The key is marked so that no log prints it.
pub(crate) fn headers(settings: &ModelSettings) -> Result<HeaderMap, ModelError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &settings.api_key {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", key.expose_secret().trim())).map_err(|_| {
                ModelError::Misconfigured {
                    reason: "the API key contains characters that cannot be sent".into(),
                }
            })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// An HTTP client that follows no redirects: a key must not travel to another host.
pub(crate) fn client(settings: &ModelSettings) -> Result<reqwest::Client, ModelError> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(settings.limits.connect)
        .tcp_nodelay(true)
        .default_headers(headers(settings)?);
    let url = endpoint(&settings.base_url, "", Scheme::Http)?;
    let local = url.host_str().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    if local {
        // A proxy for the outside world cannot reach this machine's own ports.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|_| ModelError::Misconfigured { reason: "TLS could not be set up".into() })
}

/// An HTTP endpoint that streams its answers.
#[derive(Debug)]
pub(crate) struct Endpoint {
    client: reqwest::Client,
    url: Url,
    silence: Duration,
    connect: Duration,
}

impl Endpoint {
    pub(crate) fn new(settings: &ModelSettings, path: &str) -> Result<Self, ModelError> {
        Ok(Self {
            client: client(settings)?,
            url: endpoint(&settings.base_url, path, Scheme::Http)?,
            silence: settings.limits.event_silence,
            connect: settings.limits.connect,
        })
    }

    /// Posts a request and returns the response once it is known to be a success.
    ///
    /// A server that cannot be reached is tried again a few times.
    pub(crate) async fn post(
        &self,
        body: &Value,
        cancel: &CancellationToken,
    ) -> Result<reqwest::Response, PostError> {
        let mut backoff = Backoff::new();
        let mut attempt = 1;
        loop {
            match self.post_once(body, cancel).await {
                Err(PostError::Model(ModelError::Unreachable { .. })) if attempt < CONNECT_ATTEMPTS => {
                    attempt += 1;
                    tokio::select! {
                        () = cancel.cancelled() => return Err(ModelError::Interrupted.into()),
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                    }
                }
                result => return result,
            }
        }
    }

    async fn post_once(
        &self,
        body: &Value,
        cancel: &CancellationToken,
    ) -> Result<reqwest::Response, PostError> {
        let request = self
            .client
            .post(self.url.clone())
            .header(reqwest::header::ACCEPT, "text/event-stream")
            .json(body)
            .send();
        let response = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(ModelError::Interrupted.into()),
            response = tokio::time::timeout(self.silence, request) => response,
        };
        let response = match response {
            Err(_) => return Err(timed_out("waiting for it to answer", self.silence).into()),
            Ok(Err(error)) if error.is_timeout() => {
                return Err(timed_out("connecting", self.connect).into());
            }
            Ok(Err(error)) if error.is_connect() => {
                return Err(ModelError::Unreachable { reason: "the connection failed".into() }.into());
            }
            Ok(Err(_)) => {
                return Err(ModelError::Retryable {
                    reason: "the connection closed before it answered".into(),
                }
                .into());
            }
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ModelError::Interrupted.into()),
            failure = failure_of(response, self.silence) => Err(PostError::Refused(failure)),
        }
    }
}

/// Why a request got no stream.
#[derive(Debug)]
pub(crate) enum PostError {
    /// The server answered with an error.
    Refused(WireFailure),
    /// Anything else.
    Model(ModelError),
}

impl From<ModelError> for PostError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

pub(crate) fn timed_out(during: &'static str, limit: Duration) -> ModelError {
    ModelError::TimedOut { during, limit }
}

/// The failure that a status and its headers stand for.
pub(crate) fn failure_of_status(status: StatusCode, headers: &HeaderMap) -> WireFailure {
    let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    WireFailure {
        status: Some(status.as_u16()),
        retry_after: wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        ..WireFailure::default()
    }
}

async fn failure_of(mut response: reqwest::Response, limit: Duration) -> WireFailure {
    let by_status = failure_of_status(response.status(), response.headers());
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > ERROR_BODY {
                break;
            }
            body.extend_from_slice(&chunk);
        }
    };
    // A body that does not come changes nothing: the status says enough.
    let _ = tokio::time::timeout(limit, read).await;
    let Ok(value @ Value::Object(_)) = serde_json::from_slice::<Value>(&body) else { return by_status };
    let told = WireFailure::read(&value);
    WireFailure {
        status: by_status.status,
        retry_after: by_status.retry_after.or(told.retry_after),
        code: told.code,
        param: told.param,
    }
}

/// Optional fields that the model turned out not to take.
#[derive(Debug, Default)]
pub(crate) struct RefusedFields(Mutex<BTreeSet<String>>);

impl RefusedFields {
    pub(crate) fn get(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers a field; says whether it was new.
    pub(crate) fn add(&self, field: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(field.to_owned())
    }
}

/// The sending half of one call's events, kept over all attempts of the call.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) sender: mpsc::Sender<ModelEvent>,
    pub(crate) cancel: CancellationToken,
    announced: Arc<AtomicBool>,
}

impl Delivery {
    pub(crate) fn new(sender: mpsc::Sender<ModelEvent>, cancel: CancellationToken) -> Self {
        Self { sender, cancel, announced: Arc::default() }
    }

    /// Passes events on, waiting while the caller is behind. Returns whether the call goes on.
    pub(crate) async fn deliver(&self, events: &mut Vec<ModelEvent>) -> bool {
        for event in events.drain(..) {
            // A second attempt starts again, but the caller hears of it once.
            if matches!(event, ModelEvent::Started { .. }) && self.announced.swap(true, Ordering::Relaxed) {
                continue;
            }
            if !self.send(event).await {
                return false;
            }
        }
        true
    }

    /// Passes one event on. Returns whether the call goes on.
    pub(crate) async fn send(&self, event: ModelEvent) -> bool {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            sent = self.sender.send(event) => sent.is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined_below_the_base() {
        let cases = [
            ("https://api.openai.com/v1", Scheme::Http, "https://api.openai.com/v1/responses"),
            ("https://api.openai.com/v1/", Scheme::WebSocket, "wss://api.openai.com/v1/responses"),
            ("http://127.0.0.1:8090/v1", Scheme::WebSocket, "ws://127.0.0.1:8090/v1/responses"),
            (
                "https://x.openai.azure.com/openai/v1?api-version=1",
                Scheme::Http,
                "https://x.openai.azure.com/openai/v1/responses?api-version=1",
            ),
        ];
        for (base, scheme, url) in cases {
            assert_eq!(endpoint(base, "responses", scheme).unwrap().as_str(), url);
        }
        for base in ["", "api.openai.com/v1", "ftp://x/v1", "https://me:key@x/v1"] {
            assert!(endpoint(base, "responses", Scheme::Http).is_err(), "{base}");
        }
    }
}

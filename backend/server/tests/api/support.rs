//! A server of one's own, and the other half of its protocols.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, Once};
use std::time::Duration;

use ensemble_protocol::lib0::{Reader, write_string, write_uint};
use ensemble_protocol::sync::{SyncMessage, read_presence, write_awareness_message};
use ensemble_server::Server;
use ensemble_server::config::{Config, Sources};
use ensemble_server::lifecycle::Outcome;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap, SET_COOKIE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use yrs::updates::decoder::Decode as _;
use yrs::{
    Doc, GetString as _, OffsetKind, Options, ReadTxn as _, StateVector, Text as _, Transact as _, Update,
};

/// How long a test waits for something that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Everything all servers of this process logged so far.
pub(crate) fn logged() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::defaults().log;
        config.filter =
            "debug,ensemble_server=trace,ensemble_sync=trace,ensemble_agent=trace,ensemble_store=trace"
                .into();
        ensemble_server::telemetry::start_with(&config, || LogWriter, false);
    });
}

/// A server that stops when dropped.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) greeting: Vec<String>,
    stop: CancellationToken,
    served: Option<JoinHandle<Outcome>>,
    data: Option<TempDir>,
}

impl TestServer {
    /// An empty server on this machine that is open to all.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// An empty server with some settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self::on(data, change).await
    }

    /// A server on data that is there already.
    pub(crate) async fn on(data: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        Self::listening(TcpListener::bind("127.0.0.1:0").await.unwrap(), data, change).await
    }

    /// An empty server with lines on which little is on its way, so that a client that does not read is noticed.
    pub(crate) async fn on_narrow_lines(change: impl FnOnce(&mut Config)) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::listening(socket.listen(64).unwrap(), tempfile::tempdir().unwrap(), change).await
    }

    async fn listening(listener: TcpListener, data: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        prepare();
        let mut config = config_for(data.path());
        change(&mut config);
        let server = Server::build(config).await.unwrap();
        let address = listener.local_addr().unwrap();
        let greeting = server.greeting(address);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served =
            tokio::spawn(async move { server.serve(listener, stopped.cancelled_owned()).await.unwrap() });
        Self { url: format!("http://{address}"), greeting, stop, served: Some(served), data: Some(data) }
    }

    /// Stops the server; its data stays.
    pub(crate) async fn stop(mut self) -> (Outcome, TempDir) {
        self.stop.cancel();
        let outcome = soon("the server to stop", self.served.take().unwrap()).await.unwrap();
        (outcome, self.data.take().unwrap())
    }

    /// Another program that holds the database: nothing is committed until it lets go.
    pub(crate) async fn hold_commits(&self) -> Holding {
        let mut holding = self.beside().await;
        holding.execute("begin immediate").await;
        holding
    }

    /// Another program at the same database.
    pub(crate) async fn beside(&self) -> Holding {
        let file = self.data.as_ref().unwrap().path().join("ensemble.db");
        Holding(sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap())
    }

    /// A caller who is not signed in.
    pub(crate) fn stranger(&self) -> Api {
        Api { url: self.url.clone(), token: None, cookie: None, origin: None, http: reqwest::Client::new() }
    }

    /// A new project, empty, and its owner.
    pub(crate) async fn project(&self) -> (Api, String) {
        let stranger = self.stranger();
        let made = stranger
            .post("/api/v1/projects", json!({"name": "Test", "template": "empty", "your_name": "Ada"}))
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let api = Api { token: Some(made.json()["token"].as_str().unwrap().into()), ..stranger };
        (api, made.json()["project"]["id"].as_str().unwrap().into())
    }

    /// Somebody new in a project, by a link of its owner.
    pub(crate) async fn member(&self, owner: &Api, project: &str, role: &str, name: &str) -> Api {
        let invite = owner.post(&format!("/api/v1/projects/{project}/invites"), json!({"role": role})).await;
        let secret = invite.json()["secret"].clone();
        let joined = self.stranger().post("/api/v1/join", json!({"secret": secret, "name": name})).await;
        assert_eq!(joined.status, StatusCode::OK, "{}", joined.text);
        Api { token: Some(joined.json()["token"].as_str().unwrap().into()), ..self.stranger() }
    }
}

/// A program that works in the server's database beside it.
pub(crate) struct Holding(sqlx::SqliteConnection);

impl Holding {
    pub(crate) async fn execute(&mut self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.0).await.unwrap();
    }

    /// From here on the server commits again.
    pub(crate) async fn let_go(mut self) {
        self.execute("rollback").await;
        sqlx::Connection::close(self.0).await.unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn config_for(data: &Path) -> Config {
    let variables: BTreeMap<String, String> = [
        ("ENSEMBLE_DATA", data.to_str().unwrap()),
        ("ENSEMBLE_LISTEN", "127.0.0.1:0"),
        ("ENSEMBLE_DEMO_TOKENS_PER_SECOND", "20000"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    Config::read(&Sources { variables, ..Sources::default() }).unwrap()
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The value of the session cookie it sets, as `name=value`.
    pub(crate) fn cookie(&self) -> Option<String> {
        let cookie = self.headers.get(SET_COOKIE)?.to_str().unwrap();
        Some(cookie.split(';').next().unwrap().into())
    }

    /// Checks that this is a refusal with this code, in the shape of problem details.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        assert_eq!(problem["request_id"], self.header("x-request-id"));
    }
}

/// A caller over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) http: reqwest::Client,
}

impl Api {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        answer(request).await
    }

    /// A request to send by hand, with the caller's credentials.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie).header("x-ensemble", "1");
        }
        if let Some(origin) = &self.origin {
            request = request.header("origin", origin);
        }
        request
    }

    /// Makes a document and gives its id.
    pub(crate) async fn document(&self, project: &str, path: &str, text: &str) -> String {
        let made = self
            .post(&format!("/api/v1/projects/{project}/documents"), json!({"path": path, "text": text}))
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        made.json()["id"].as_str().unwrap().into()
    }

    /// A document's text.
    pub(crate) async fn text(&self, project: &str, document: &str) -> String {
        let answer = self.get(&format!("/api/v1/projects/{project}/documents/{document}/text")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.text
    }

    /// A Hocuspocus socket of this caller.
    pub(crate) async fn socket(&self) -> Socket {
        let headers: Vec<_> = self.origin.iter().map(|origin| ("origin", origin.clone())).collect();
        Socket::open(&self.url, "/sync", &headers).await.unwrap()
    }

    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().unwrap()
    }
}

/// Sends a request made by hand.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = soon("an answer", request.send()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// What a server says about one address, or about the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Step1(Vec<u8>),
    Step2(Vec<u8>),
    Update(Vec<u8>),
    Presence(Vec<(u64, u64, Value)>),
    TokenAsked,
    Denied(String),
    Authenticated(String),
    Stateless(Value),
    Close(String),
    Status(bool),
    Ping,
    Pong,
}

/// A WebSocket client.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects; the error has the HTTP status where the upgrade was refused.
    pub(crate) async fn open(url: &str, path: &str, headers: &[(&str, String)]) -> Result<Self, u16> {
        let mut request = format!("{}{path}", url.replacen("http", "ws", 1)).into_client_request().unwrap();
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match soon("a connection", Box::pin(connect_async(request))).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(WsError::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("could not connect: {error}"),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl Into<bytes::Bytes>) {
        self.stream.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next frame; the close code where the socket was closed.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, u16> {
        loop {
            match soon("a frame", self.stream.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Ok(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Waits for the socket to be closed, with whatever comes before.
    pub(crate) async fn expect_close(&mut self, code: u16) {
        loop {
            if let Err(closed) = self.next().await {
                assert_eq!(closed, code);
                return;
            }
        }
    }

    /// Sends far too much, while listening for the answer to that.
    pub(crate) async fn send_too_much(self, bytes: usize) -> u16 {
        let (mut sink, stream) = self.stream.split();
        let sending = tokio::spawn(async move {
            // The server stops reading in the middle, so this may fail.
            let _ = sink.send(Message::Binary(vec![0; bytes].into())).await;
            sink
        });
        let mut stream = stream;
        let code = loop {
            match soon("a close code", stream.next()).await {
                Some(Ok(Message::Close(frame))) => break frame.map_or(1005, |frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break 1006,
            }
        };
        sending.abort();
        code
    }

    /// The next frame of the Hocuspocus protocol.
    pub(crate) async fn hear(&mut self) -> (String, Heard) {
        let frame = self.next().await.unwrap_or_else(|code| panic!("the socket was closed with {code}"));
        read_frame(&frame)
    }

    /// Waits for something about an address, and passes over everything else.
    pub(crate) async fn wait_for<T>(
        &mut self,
        address: &str,
        mut pick: impl FnMut(&Heard) -> Option<T>,
    ) -> T {
        loop {
            let (about, heard) = self.hear().await;
            if about == address
                && let Some(picked) = pick(&heard)
            {
                return picked;
            }
        }
    }

    pub(crate) async fn auth(&mut self, address: &str, token: &str) {
        let mut frame = addressed(address, 2);
        write_uint(&mut frame, 0);
        write_string(&mut frame, token);
        write_string(&mut frame, "4.8.0");
        self.send(frame).await;
    }

    pub(crate) async fn sync(&mut self, address: &str, message: SyncMessage<'_>) {
        let mut frame = Vec::new();
        write_string(&mut frame, address);
        message.write(&mut frame);
        self.send(frame).await;
    }

    pub(crate) async fn presence(&mut self, address: &str, client: u64, clock: u64, state: &Value) {
        let mut frame = Vec::new();
        write_string(&mut frame, address);
        write_awareness_message(&mut frame, &presence_payload(client, clock, state));
        self.send(frame).await;
    }

    pub(crate) async fn stateless(&mut self, address: &str, text: &str) {
        let mut frame = addressed(address, 5);
        write_string(&mut frame, text);
        self.send(frame).await;
    }

    pub(crate) async fn detach(&mut self, address: &str) {
        self.send(addressed(address, 7)).await;
    }

    /// Signs in at an address and says whether that was granted.
    pub(crate) async fn attach(&mut self, address: &str, token: &str) -> Result<String, String> {
        self.auth(address, token).await;
        self.wait_for(address, |heard| match heard {
            Heard::Authenticated(scope) => Some(Ok(scope.clone())),
            Heard::Denied(reason) => Some(Err(reason.clone())),
            _ => None,
        })
        .await
    }

    /// Signs in at an address and syncs a document with it.
    pub(crate) async fn join(&mut self, address: &str, token: &str) -> Replica {
        self.attach(address, token).await.unwrap();
        let replica = Replica::new();
        self.sync(address, SyncMessage::Step1(&[0])).await;
        let state = self.wait_for(address, step_2).await;
        replica.apply(&state);
        self.sync(address, SyncMessage::Step2(&[0, 0])).await;
        assert!(self.wait_for(address, status).await);
        replica
    }

    /// Sends a control request and waits for its answer.
    pub(crate) async fn call(&mut self, project: &str, id: u32, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.stateless(project, &request.to_string()).await;
        self.wait_for(project, |heard| match heard {
            Heard::Stateless(answer) if answer["id"] == id => Some(answer.clone()),
            _ => None,
        })
        .await
    }
}

pub(crate) fn step_2(heard: &Heard) -> Option<Vec<u8>> {
    if let Heard::Step2(update) = heard { Some(update.clone()) } else { None }
}

pub(crate) fn update(heard: &Heard) -> Option<Vec<u8>> {
    if let Heard::Update(update) = heard { Some(update.clone()) } else { None }
}

pub(crate) fn status(heard: &Heard) -> Option<bool> {
    if let Heard::Status(applied) = heard { Some(*applied) } else { None }
}

pub(crate) fn closed(heard: &Heard) -> Option<String> {
    if let Heard::Close(reason) = heard { Some(reason.clone()) } else { None }
}

fn addressed(address: &str, kind: u64) -> Vec<u8> {
    let mut frame = Vec::new();
    write_string(&mut frame, address);
    write_uint(&mut frame, kind);
    frame
}

pub(crate) fn presence_payload(client: u64, clock: u64, state: &Value) -> Vec<u8> {
    let mut payload = Vec::new();
    write_uint(&mut payload, 1);
    write_uint(&mut payload, client);
    write_uint(&mut payload, clock);
    write_string(&mut payload, &state.to_string());
    payload
}

fn read_frame(frame: &[u8]) -> (String, Heard) {
    match frame {
        [9] => return (String::new(), Heard::Ping),
        [10] => return (String::new(), Heard::Pong),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let address = reader.string().unwrap().to_owned();
    let heard = match reader.uint().unwrap() {
        0 => match SyncMessage::read(&mut reader).unwrap() {
            SyncMessage::Step1(have) => Heard::Step1(have.to_vec()),
            SyncMessage::Step2(update) => Heard::Step2(update.to_vec()),
            SyncMessage::Update(update) => Heard::Update(update.to_vec()),
        },
        1 => Heard::Presence(entries(reader.bytes().unwrap())),
        2 => match reader.uint().unwrap() {
            0 => Heard::TokenAsked,
            1 => Heard::Denied(reader.string().unwrap().into()),
            2 => Heard::Authenticated(reader.string().unwrap().into()),
            other => panic!("auth kind {other}"),
        },
        5 => Heard::Stateless(serde_json::from_str(reader.string().unwrap()).unwrap()),
        7 => Heard::Close(reader.string().unwrap().into()),
        8 => Heard::Status(reader.uint().unwrap() == 1),
        other => panic!("frame kind {other}"),
    };
    assert!(reader.is_empty(), "one message per frame");
    (address, heard)
}

pub(crate) fn entries(payload: &[u8]) -> Vec<(u64, u64, Value)> {
    let entries = read_presence(payload).unwrap();
    entries
        .iter()
        .map(|entry| (entry.client, entry.clock, serde_json::from_str(entry.state).unwrap()))
        .collect()
}

/// One copy of a document.
#[derive(Clone)]
pub(crate) struct Replica {
    doc: Doc,
}

impl Replica {
    pub(crate) fn new() -> Self {
        let doc = Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() });
        Self { doc }
    }

    pub(crate) fn apply(&self, update: &[u8]) {
        self.doc.transact_mut().apply_update(Update::decode_v1(update).unwrap()).unwrap();
    }

    pub(crate) fn text(&self) -> String {
        let text = self.doc.get_or_insert_text("content");
        text.get_string(&self.doc.transact())
    }

    /// Types, and gives the update that says so.
    pub(crate) fn insert(&self, at: u32, what: &str) -> Vec<u8> {
        let text = self.doc.get_or_insert_text("content");
        let mut transaction = self.doc.transact_mut();
        text.insert(&mut transaction, at, what);
        transaction.encode_update_v1()
    }

    /// Deletes, and gives the update that says so.
    pub(crate) fn remove(&self, at: u32, length: u32) -> Vec<u8> {
        let text = self.doc.get_or_insert_text("content");
        let mut transaction = self.doc.transact_mut();
        text.remove_range(&mut transaction, at, length);
        transaction.encode_update_v1()
    }

    /// All of it, as an update.
    pub(crate) fn state(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    /// A root map, as JSON.
    pub(crate) fn map(&self, name: &str) -> Value {
        use yrs::types::ToJson as _;
        let map = self.doc.get_or_insert_map(name);
        serde_json::to_value(map.to_json(&self.doc.transact())).unwrap()
    }
}

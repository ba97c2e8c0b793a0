//! Connections as they come in: how many there may be, and how each is served.
//!
//! A connection takes a place among all, and among those of its address, for as long as it is open, as a
//! WebSocket too. Whoever finds no place is told so and let go; nobody who has one notices. What one connection
//! may do with its place is watched by its [`Line`].

mod crowd;
mod line;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use ensemble_protocol::limits;
use ensemble_store::Ids;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;
use tracing::{debug, warn};

pub(crate) use self::crowd::{Crowd, Full, Place};
pub(crate) use self::line::Line;
use self::line::Watched;
use crate::config::ConnectionLimits;
use crate::error::ApiError;
use crate::lifecycle::Tasks;
use crate::rates::Address;

/// After a failed accept, for instance because there are no file descriptors left, the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);
/// Connections that are told at the same time that there is no place for them; further ones are just closed.
const REFUSALS: usize = 64;
/// How long telling somebody so may take.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// The log says at most this often that connections are refused.
const REFUSALS_LOGGED: Duration = Duration::from_mins(1);

/// Accepts and serves connections.
pub(crate) struct Connections {
    /// Everything that can be asked.
    pub(crate) app: Router,
    /// How many, and how long.
    pub(crate) limits: ConnectionLimits,
    /// Whether proxies stand in front: then their addresses say nothing about people.
    pub(crate) proxied: bool,
    /// Ids of refusals.
    pub(crate) ids: Arc<dyn Ids>,
    /// Where connections run; they end well when it stops.
    pub(crate) tasks: Tasks,
}

impl Connections {
    /// Accepts until told to stop.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let crowd = Crowd::new(self.limits.most, self.limits.per_address);
        let memory = Arc::new(AtomicUsize::new(self.limits.unfinished_bytes));
        let mut refusals = Refusals::new(self.ids);
        let stop = &self.tasks.stop;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if was_the_others_fault(&error) => continue,
                Err(error) => {
                    warn!("a connection could not be accepted: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                        () = stop.cancelled() => return,
                    }
                }
            };
            // Keystrokes are small and must not wait for each other.
            if let Err(error) = stream.set_nodelay(true) {
                debug!("a connection could not be told to send at once: {error}");
            }
            let address = (!self.proxied).then(|| Address::new(peer.ip()));
            match crowd.enter(address) {
                Ok(place) => {
                    let line = Line::new(&memory);
                    let stream = Watched::new(stream, line.clone(), place, self.limits.times);
                    let serving = serve(
                        stream,
                        line,
                        peer,
                        self.app.clone(),
                        self.tasks.clone(),
                        self.limits.times.idle,
                    );
                    self.tasks.tracker.spawn(serving);
                }
                Err(full) => refusals.refuse(stream, full, &self.tasks),
            }
        }
    }
}

/// A connection that was gone before it was accepted.
fn was_the_others_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves one connection, request after request, until it ends or becomes a WebSocket.
async fn serve(
    stream: Watched<TcpStream, Place<Address>>,
    line: Line,
    peer: SocketAddr,
    app: Router,
    tasks: Tasks,
    idle: Duration,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        line.asked();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(line.clone());
        let (answer, line) = (app.clone().oneshot(request), line.clone());
        async move {
            let answer = answer.await;
            line.answered();
            answer
        }
    });
    let connection = http1::Builder::new()
        // The line knows when a head begins and is stricter from then on. This makes the library look at a
        // connection between requests too.
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_header_size(limits::HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tasks.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("a connection ended: {error}");
    }
}

/// Tells those for whom there is no place.
struct Refusals {
    ids: Arc<dyn Ids>,
    told: Arc<Semaphore>,
    logged: Option<Instant>,
    since: usize,
}

impl Refusals {
    fn new(ids: Arc<dyn Ids>) -> Self {
        Self { ids, told: Arc::new(Semaphore::new(REFUSALS)), logged: None, since: 0 }
    }

    fn refuse(&mut self, stream: TcpStream, full: Full, tasks: &Tasks) {
        self.since += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= REFUSALS_LOGGED) {
            warn!(refused = self.since, "refused a connection: {full}");
            self.logged = Some(Instant::now());
            self.since = 0;
        }
        let Ok(permit) = self.told.clone().try_acquire_owned() else { return };
        let answer = refusal(full, &ensemble_protocol::id::encode_uuid(self.ids.uuid()));
        tasks.tracker.spawn(async move {
            let _ = timeout(REFUSAL_TIME, tell(stream, &answer)).await;
            drop(permit);
        });
    }
}

/// The whole answer: a problem, and the connection is closed.
fn refusal(full: Full, request_id: &str) -> String {
    let error = ApiError::busy(full.to_string());
    let body = serde_json::to_string(&error.problem(request_id)).expect("a problem is JSON");
    format!(
        "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         x-request-id: {request_id}\r\nretry-after: {}\r\nconnection: close\r\n\r\n{body}",
        error.status(),
        body.len(),
        limits::CONNECTIONS_RETRY.as_secs(),
    )
}

async fn tell(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with something unread would reset the connection, and the reset could overtake the answer.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

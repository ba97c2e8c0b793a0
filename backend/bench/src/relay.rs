//! The bare relay: copies every frame to everybody else, parses nothing, keeps nothing.
//!
//! It stands for the limit of what a server of this kind can reach: the same web framework, the same way of
//! writing (everything that is queued, then one flush), and no work at all in between.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use ensemble_protocol::limits;
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Frames queued for one socket; one that has so many unread is closed. Far more than a window of the load
/// generator.
const QUEUED_FRAMES: usize = 64 * 1024;
/// Frames taken from the queue at once.
const BATCH_FRAMES: usize = 4096;

#[derive(Default)]
struct Peers {
    next: AtomicU64,
    queues: Mutex<BTreeMap<u64, mpsc::Sender<Bytes>>>,
}

/// Serves until it is killed.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Nagle's algorithm would hold small frames back. A socket that refuses is slower, not wrong.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let mut out = std::io::stdout().lock();
    writeln!(out, "The relay is ready at http://{address}")?;
    out.flush()?;
    drop(out);
    let router = Router::new().route("/sync", any(upgrade)).with_state(Arc::new(Peers::default()));
    axum::serve(listener, router).await?;
    Ok(())
}

async fn upgrade(State(peers): State<Arc<Peers>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(limits::SOCKET_READ_BUFFER)
        .max_message_size(limits::MESSAGE_BYTES)
        .on_upgrade(move |socket| relay(socket, peers))
}

async fn relay(socket: WebSocket, peers: Arc<Peers>) {
    let (mut sink, mut stream) = socket.split();
    let (queue, mut queued) = mpsc::channel::<Bytes>(QUEUED_FRAMES);
    let id = peers.next.fetch_add(1, Ordering::Relaxed);
    peers.queues.lock().insert(id, queue);
    let write = async {
        let mut batch = Vec::new();
        while queued.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
            for frame in batch.drain(..) {
                if sink.feed(Message::Binary(frame)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            let Message::Binary(frame) = message else { continue };
            // A full queue drops its sender here, and the socket closes.
            peers.queues.lock().retain(|to, queue| *to == id || queue.try_send(frame.clone()).is_ok());
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    peers.queues.lock().remove(&id);
}

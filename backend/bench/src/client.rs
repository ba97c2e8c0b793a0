//! A small, honest client of the Hocuspocus protocol: says what the stock provider says, in the same order.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use ensemble_protocol::hocuspocus::{awareness_frame, stateless_frame, sync_frame};
use ensemble_protocol::lib0::{Reader, write_string, write_uint};
use ensemble_protocol::sync::{PresenceEntry, SyncMessage, write_presence};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// The version the client says it is, since servers ping only clients that name one.
const VERSION: &str = "4.8.0";
/// How long anything that should be immediate may take, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes read from a socket at once.
const READ_BUFFER: usize = 32 * 1024;

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const STATELESS: u64 = 5;
const CLOSE: u64 = 7;
const SYNC_STATUS: u64 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerFrame<'a> {
    /// About one document.
    Addressed {
        /// Which.
        address: &'a str,
        /// What.
        message: ServerMessage<'a>,
    },
    /// Asks for a sign of life.
    Ping,
    /// Answers one.
    Pong,
}

/// What a server says about one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerMessage<'a> {
    /// A sync step or update.
    Sync(SyncMessage<'a>),
    /// Presence, still encoded.
    Awareness(&'a [u8]),
    /// You are in; whether you may write.
    Authenticated {
        /// Whether updates are taken.
        may_write: bool,
    },
    /// You are not let in.
    Denied(&'a str),
    /// Send your token again.
    TokenWanted,
    /// A string: JSON-RPC.
    Stateless(&'a str),
    /// You are out of this document.
    Closed(&'a str),
    /// Whether an update was stored.
    SyncStatus(bool),
}

impl<'a> ServerFrame<'a> {
    /// Reads one WebSocket message.
    pub(crate) fn read(bytes: &'a [u8]) -> anyhow::Result<Self> {
        match bytes {
            [PING] => return Ok(Self::Ping),
            [PONG] => return Ok(Self::Pong),
            _ => {}
        }
        let mut reader = Reader::new(bytes);
        let address = reader.string()?;
        let message = match reader.uint()? {
            SYNC => ServerMessage::Sync(SyncMessage::read(&mut reader)?),
            AWARENESS => ServerMessage::Awareness(reader.bytes()?),
            AUTH => match reader.uint()? {
                0 => ServerMessage::TokenWanted,
                1 => ServerMessage::Denied(reader.string()?),
                2 => ServerMessage::Authenticated { may_write: reader.string()? == "read-write" },
                other => bail!("unknown kind {other} of authentication"),
            },
            STATELESS => ServerMessage::Stateless(reader.string()?),
            CLOSE => ServerMessage::Closed(reader.string()?),
            SYNC_STATUS => ServerMessage::SyncStatus(reader.uint()? == 1),
            other => bail!("unknown kind {other} of frame"),
        };
        reader.finish()?;
        Ok(Self::Addressed { address, message })
    }
}

/// "This is who I am."
pub(crate) fn auth_frame(address: &str, token: &str) -> Bytes {
    let mut out = Vec::with_capacity(address.len() + token.len() + 16);
    write_string(&mut out, address);
    write_uint(&mut out, AUTH);
    write_uint(&mut out, 0);
    write_string(&mut out, token);
    write_string(&mut out, VERSION);
    out.into()
}

/// "This is what I have", as a state vector.
pub(crate) fn step_1_frame(address: &str, have: &[u8]) -> Bytes {
    sync_frame(address, SyncMessage::Step1(have))
}

/// "This is what you lack."
pub(crate) fn step_2_frame(address: &str, update: &[u8]) -> Bytes {
    sync_frame(address, SyncMessage::Step2(update))
}

/// Something new.
pub(crate) fn update_frame(address: &str, update: &[u8]) -> Bytes {
    sync_frame(address, SyncMessage::Update(update))
}

/// A person's presence in a document, with a cursor nowhere.
pub(crate) fn presence_frame(address: &str, client: u64, clock: u64, name: &str) -> Bytes {
    let user =
        serde_json::json!({"name": name, "color": "#30bced", "colorLight": "#30bced33", "kind": "person"});
    let state = serde_json::json!({"user": user, "cursor": null}).to_string();
    let entry = PresenceEntry { client, clock, state: &state };
    awareness_frame(address, &write_presence([entry].into_iter()))
}

/// A JSON-RPC request.
pub(crate) fn rpc_frame(address: &str, id: u64, method: &str, params: &serde_json::Value) -> Bytes {
    let request = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    stateless_frame(address, &request.to_string())
}

type Socket = WebSocketStream<TcpStream>;

/// The sending half of a socket.
#[derive(Debug)]
pub(crate) struct Sender(SplitSink<Socket, Message>);

/// The receiving half of a socket.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: SplitStream<Socket>,
    closed_with: Option<u16>,
}

/// Opens a socket at `ws://{host}{path}`.
pub(crate) async fn connect(base: &str, path: &str) -> anyhow::Result<(Sender, Receiver)> {
    let host = base.strip_prefix("http://").context("the server's address begins with `http://`")?;
    let dial = async {
        let stream = TcpStream::connect(host).await?;
        // Nagle's algorithm would hold small frames back.
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let url = format!("ws://{host}{path}");
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        anyhow::Ok(socket)
    };
    let socket =
        tokio::time::timeout(PATIENCE, dial).await.context("no socket could be opened in time")??;
    let (sink, stream) = socket.split();
    Ok((Sender(sink), Receiver { stream, closed_with: None }))
}

impl Sender {
    /// Sends one frame at once.
    pub(crate) async fn send(&mut self, frame: Bytes) -> anyhow::Result<()> {
        Ok(self.0.send(Message::Binary(frame)).await?)
    }

    /// Adds a frame to what the next [`Sender::flush`] sends.
    pub(crate) async fn feed(&mut self, frame: Bytes) -> anyhow::Result<()> {
        Ok(self.0.feed(Message::Binary(frame)).await?)
    }

    /// Sends what was fed.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.0.flush().await?)
    }

    /// Asks to be let in and to be synced, as a provider does on opening: without waiting in between.
    pub(crate) async fn join(&mut self, address: &str, token: &str, have: &[u8]) -> anyhow::Result<()> {
        self.feed(auth_frame(address, token)).await?;
        self.feed(step_1_frame(address, have)).await?;
        self.flush().await
    }
}

impl Receiver {
    /// The next frame; nothing once the socket is closed. Cancel-safe.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => bail!("the server sent text"),
                Some(Ok(Message::Close(close))) => {
                    self.closed_with = close.map(|close| close.code.into());
                    return Ok(None);
                }
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// The code the server closed the socket with, once it has.
    pub(crate) const fn closed_with(&self) -> Option<u16> {
        self.closed_with
    }

    /// Joins a document that has nothing in common with the caller yet, answering the server's step 1 with
    /// nothing. Returns once it is synced.
    ///
    /// Fails if the address is refused, or if something is not said in time.
    pub(crate) async fn joined(&mut self, sender: &mut Sender, address: &str) -> anyhow::Result<()> {
        self.joined_with(sender, address).await.map(drop)
    }

    /// The same, and returns what the document holds, and what others did meanwhile, as updates.
    pub(crate) async fn joined_with(
        &mut self,
        sender: &mut Sender,
        address: &str,
    ) -> anyhow::Result<Vec<Bytes>> {
        let joining = async {
            let (mut updates, mut synced, mut acknowledged) = (Vec::new(), false, false);
            loop {
                if synced && acknowledged {
                    return Ok(updates);
                }
                let frame = self.next().await?.context("the socket closed while joining")?;
                match ServerFrame::read(&frame)? {
                    ServerFrame::Ping => sender.send(Bytes::from_static(&[PONG])).await?,
                    ServerFrame::Addressed { address: about, message } if about == address => match message {
                        ServerMessage::Denied(reason) => bail!("`{address}` is denied: {reason}"),
                        ServerMessage::Closed(reason) => bail!("`{address}` is closed: {reason}"),
                        ServerMessage::Sync(SyncMessage::Step1(_)) => {
                            sender.send(step_2_frame(address, &[0, 0])).await?;
                        }
                        ServerMessage::Sync(SyncMessage::Step2(update)) => {
                            synced = true;
                            updates.push(Bytes::copy_from_slice(update));
                        }
                        // Whoever is in is told what others do, also before the own answer is acknowledged.
                        ServerMessage::Sync(SyncMessage::Update(update)) => {
                            updates.push(Bytes::copy_from_slice(update));
                        }
                        ServerMessage::SyncStatus(_) => acknowledged = true,
                        _ => {}
                    },
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, joining).await.with_context(|| format!("`{address}` did not sync"))?
    }
}

/// Answers a ping.
pub(crate) fn pong() -> Bytes {
    Bytes::from_static(&[PONG])
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::hocuspocus::{
        ClientFrame, ClientMessage, Scope, authenticated_frame, denied_frame,
    };

    use super::*;

    #[test]
    fn what_the_server_says_is_read() {
        let read = |bytes: &Bytes| match ServerFrame::read(bytes).unwrap() {
            ServerFrame::Addressed { address: "d", message } => format!("{message:?}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&authenticated_frame("d", Scope::ReadWrite)), "Authenticated { may_write: true }");
        assert_eq!(read(&denied_frame("d", "nope")), "Denied(\"nope\")");
        assert_eq!(read(&Bytes::from_static(b"\x01d\x08\x01")), "SyncStatus(true)");
        assert_eq!(ServerFrame::read(&[9]).unwrap(), ServerFrame::Ping);
        assert!(ServerFrame::read(b"\x01d\x63").is_err());
    }

    #[test]
    fn what_the_client_says_is_what_servers_read() {
        let frame = auth_frame("d", "rw");
        let expected = ClientMessage::Auth { token: "rw", version: Some(VERSION) };
        assert_eq!(ClientFrame::read(&frame), Ok(ClientFrame::Addressed { address: "d", message: expected }));
    }
}

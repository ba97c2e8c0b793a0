//! Frames of the Hocuspocus v4 protocol: y-protocols messages, each addressed to a document.
//!
//! Format: the packages `@hocuspocus/provider` and `@hocuspocus/server`, `MessageReceiver.ts` on both sides.
//! A frame is an address, a type and a body; `Ping` and `Pong` are single bytes without an address.
//! The kinds a client may send and the kinds a server may send are separate enums,
//! so that a client cannot use an operation meant for servers.

use bytes::Bytes;

use crate::lib0::{DecodeError, Reader, write_string, write_uint};
use crate::limits;
use crate::sync::{SyncMessage, write_awareness_message};

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;
const STATELESS: u64 = 5;
const CLOSE: u64 = 7;
const SYNC_STATUS: u64 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Separates the name of a document from a provider's session id in an address.
pub const SESSION_SEPARATOR: char = '\0';

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// A message about one document.
    Addressed {
        /// The address exactly as sent; answers carry the same.
        address: &'a str,
        /// What is said about it.
        message: ClientMessage<'a>,
    },
    /// Asks for a [`pong_frame`].
    Ping,
    /// Answers a [`ping_frame`].
    Pong,
}

/// What a client says about one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// A sync step or update.
    Sync(SyncMessage<'a>),
    /// An awareness update, still encoded.
    Awareness(&'a [u8]),
    /// A token, at first to get in and later to stay in.
    Auth {
        /// Ticket or bearer token.
        token: &'a str,
        /// Version of the provider; absent before 4.0.
        version: Option<&'a str>,
    },
    /// Asks for everybody's presence.
    QueryAwareness,
    /// A string for the server: ours are JSON-RPC.
    Stateless(&'a str),
    /// Leaves the document.
    Close,
}

impl<'a> ClientFrame<'a> {
    /// Reads one whole WebSocket message.
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes {
            [PING] => return Ok(Self::Ping),
            [PONG] => return Ok(Self::Pong),
            _ => {}
        }
        let mut reader = Reader::new(bytes);
        let address = reader.string()?;
        if address.len() > limits::ADDRESS_BYTES {
            return Err(DecodeError::TooLarge("address"));
        }
        let message = match reader.uint()? {
            SYNC => ClientMessage::Sync(SyncMessage::read(&mut reader)?),
            AWARENESS => ClientMessage::Awareness(reader.bytes()?),
            AUTH => {
                let kind = reader.uint()?;
                if kind != 0 {
                    return Err(DecodeError::UnknownKind(kind));
                }
                let token = reader.string()?;
                let version = if reader.is_empty() { None } else { Some(reader.string()?) };
                ClientMessage::Auth { token, version }
            }
            QUERY_AWARENESS => ClientMessage::QueryAwareness,
            STATELESS => ClientMessage::Stateless(reader.string()?),
            CLOSE => {
                // The stock provider sends no body; a reason is tolerated.
                if !reader.is_empty() {
                    reader.string()?;
                }
                ClientMessage::Close
            }
            other => return Err(DecodeError::UnknownKind(other)),
        };
        reader.finish()?;
        Ok(Self::Addressed { address, message })
    }
}

/// What a peer may do with a document, as told after authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// May send updates.
    ReadWrite,
    /// Updates are refused.
    ReadOnly,
}

fn addressed(address: &str, kind: u64, body_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(address.len() + 4 + body_bytes);
    write_string(&mut out, address);
    write_uint(&mut out, kind);
    out
}

/// A sync step or update.
pub fn sync_frame(address: &str, message: SyncMessage<'_>) -> Bytes {
    let (SyncMessage::Step1(payload) | SyncMessage::Step2(payload) | SyncMessage::Update(payload)) = message;
    let mut out = Vec::with_capacity(address.len() + 8 + payload.len());
    write_string(&mut out, address);
    message.write(&mut out);
    out.into()
}

/// Presence, from an encoded awareness update.
pub fn awareness_frame(address: &str, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(address.len() + 8 + payload.len());
    write_string(&mut out, address);
    write_awareness_message(&mut out, payload);
    out.into()
}

/// "You are in, and this is what you may do."
pub fn authenticated_frame(address: &str, scope: Scope) -> Bytes {
    let mut out = addressed(address, AUTH, 16);
    write_uint(&mut out, 2);
    write_string(
        &mut out,
        match scope {
            Scope::ReadWrite => "read-write",
            Scope::ReadOnly => "readonly",
        },
    );
    out.into()
}

/// "You are not let in": this address only, the socket lives on.
pub fn denied_frame(address: &str, reason: &str) -> Bytes {
    let mut out = addressed(address, AUTH, reason.len() + 4);
    write_uint(&mut out, 1);
    write_string(&mut out, reason);
    out.into()
}

/// "Send your token again."
pub fn token_request_frame(address: &str) -> Bytes {
    let mut out = addressed(address, AUTH, 1);
    write_uint(&mut out, 0);
    out.into()
}

/// A string for the client: ours are JSON-RPC.
pub fn stateless_frame(address: &str, text: &str) -> Bytes {
    let mut out = addressed(address, STATELESS, text.len() + 4);
    write_string(&mut out, text);
    out.into()
}

/// "This document is closed for you"; the socket lives on.
pub fn close_frame(address: &str, reason: &str) -> Bytes {
    let mut out = addressed(address, CLOSE, reason.len() + 4);
    write_string(&mut out, reason);
    out.into()
}

/// The answer to an update: stored, or refused.
pub fn sync_status_frame(address: &str, applied: bool) -> Bytes {
    let mut out = addressed(address, SYNC_STATUS, 1);
    out.push(u8::from(applied));
    out.into()
}

/// Asks a client, version 4 or newer, for a sign of life.
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[PING])
}

/// Answers a client's ping.
pub fn pong_frame() -> Bytes {
    Bytes::from_static(&[PONG])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressed(message: ClientMessage<'_>) -> ClientFrame<'_> {
        ClientFrame::Addressed { address: "d", message }
    }

    #[test]
    fn the_frames_of_a_clean_join_are_read() {
        let cases: [(&[u8], ClientFrame<'_>); 9] = [
            (
                b"\x01d\x02\x00\x02rw\x054.8.0",
                addressed(ClientMessage::Auth { token: "rw", version: Some("4.8.0") }),
            ),
            (b"\x01d\x02\x00\x02rw", addressed(ClientMessage::Auth { token: "rw", version: None })),
            (b"\x01d\x00\x00\x01\x00", addressed(ClientMessage::Sync(SyncMessage::Step1(&[0])))),
            (b"\x01d\x01\x06\x01\x01\x00\x02{}", addressed(ClientMessage::Awareness(b"\x01\x01\x00\x02{}"))),
            (b"\x01d\x03", addressed(ClientMessage::QueryAwareness)),
            (b"\x01d\x05\x02hi", addressed(ClientMessage::Stateless("hi"))),
            (b"\x01d\x07", addressed(ClientMessage::Close)),
            (b"\x09", ClientFrame::Ping),
            (b"\x0a", ClientFrame::Pong),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ClientFrame::read(bytes), Ok(expected));
        }
    }

    #[test]
    fn what_only_servers_may_say_is_refused() {
        for bytes in
            [&b"\x01d\x06\x02hi"[..], b"\x01d\x04\x00\x01\x00", b"\x01d\x08\x01", b"\x01d\x02\x02\x02rw"]
        {
            assert!(matches!(ClientFrame::read(bytes), Err(DecodeError::UnknownKind(_))), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_cut_of_a_frame_is_refused() {
        let frame = b"\x01d\x00\x02\x04\x00\x00\x00\x00";
        for end in 0..frame.len() {
            assert!(ClientFrame::read(&frame[..end]).is_err(), "{end}");
        }
        assert_eq!(ClientFrame::read(b"\x01d\x00\x02\x00\x00"), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn the_servers_frames_are_byte_for_byte_what_the_stock_provider_expects() {
        assert_eq!(&authenticated_frame("d", Scope::ReadWrite)[..], b"\x01d\x02\x02\x0aread-write");
        assert_eq!(&authenticated_frame("d", Scope::ReadOnly)[..], b"\x01d\x02\x02\x08readonly");
        assert_eq!(&denied_frame("e", "nope")[..], b"\x01e\x02\x01\x04nope");
        assert_eq!(&token_request_frame("d")[..], b"\x01d\x02\x00");
        assert_eq!(&sync_frame("d", SyncMessage::Step1(&[0]))[..], b"\x01d\x00\x00\x01\x00");
        assert_eq!(&sync_status_frame("d", true)[..], b"\x01d\x08\x01");
        assert_eq!(&close_frame("d", "Reset Connection")[..], b"\x01d\x07\x10Reset Connection");
        assert_eq!(&stateless_frame("d", "hi")[..], b"\x01d\x05\x02hi");
    }
}

//! One message, encoded once per framing and shared by everybody who is sent it.

use std::sync::Arc;

use bytes::Bytes;
use ensemble_protocol::hocuspocus;
use ensemble_protocol::sync::{SyncMessage, write_awareness_message};

use super::Framing;

/// A message for many peers.
#[derive(Debug, Clone, Copy)]
pub(super) enum News<'a> {
    /// An update of the document.
    Update(&'a [u8]),
    /// An awareness update.
    Presence(&'a [u8]),
}

/// A message with the encodings made so far.
pub(super) struct Shared<'a> {
    news: News<'a>,
    address: &'a Arc<str>,
    hocuspocus: Option<Bytes>,
    y_websocket: Option<Bytes>,
}

impl<'a> Shared<'a> {
    /// A message in the room with this address.
    pub(super) fn new(news: News<'a>, address: &'a Arc<str>) -> Self {
        Self { news, address, hocuspocus: None, y_websocket: None }
    }

    /// The frame for a peer: encoded the first time, the same bytes from then on.
    pub(super) fn frame(&mut self, framing: &Framing) -> Bytes {
        let news = self.news;
        match framing {
            Framing::Hocuspocus(address) if Arc::ptr_eq(address, self.address) => {
                self.hocuspocus.get_or_insert_with(|| encode(news, framing)).clone()
            }
            // A provider that put a session id into its address has frames of its own.
            Framing::Hocuspocus(_) => encode(news, framing),
            Framing::YWebsocket => self.y_websocket.get_or_insert_with(|| encode(news, framing)).clone(),
        }
    }
}

fn encode(news: News<'_>, framing: &Framing) -> Bytes {
    match news {
        News::Update(bytes) => sync(framing, SyncMessage::Update(bytes)),
        News::Presence(payload) => presence(framing, payload),
    }
}

/// A sync message for one peer.
pub(super) fn sync(framing: &Framing, message: SyncMessage<'_>) -> Bytes {
    match framing {
        Framing::Hocuspocus(address) => hocuspocus::sync_frame(address, message),
        Framing::YWebsocket => {
            let mut out = Vec::new();
            message.write(&mut out);
            out.into()
        }
    }
}

/// Presence for one peer.
pub(super) fn presence(framing: &Framing, payload: &[u8]) -> Bytes {
    match framing {
        Framing::Hocuspocus(address) => hocuspocus::awareness_frame(address, payload),
        Framing::YWebsocket => {
            let mut out = Vec::with_capacity(payload.len() + 4);
            write_awareness_message(&mut out, payload);
            out.into()
        }
    }
}

/// The answer to an update, where the protocol has one.
pub(super) fn status(framing: &Framing, applied: bool) -> Option<Bytes> {
    match framing {
        Framing::Hocuspocus(address) => Some(hocuspocus::sync_status_frame(address, applied)),
        Framing::YWebsocket => None,
    }
}

//! What waits for a sign-in: how much, how long, and in whose memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ensemble_protocol::error::CloseCode;
use ensemble_protocol::limits;
use tokio::time::Instant;

use super::{Attachment, Connection, End, Stage};
use crate::auth::not_signed_in;

/// What a frame that is kept takes beside its bytes: its place in the queue and in the memory.
const KEPT_FRAME_BYTES: usize = 64;

/// What keeping a frame takes.
pub(super) fn kept_bytes(frame: &Bytes) -> usize {
    frame.len() + KEPT_FRAME_BYTES
}

impl Connection {
    /// Keeps a frame until its address is open.
    pub(super) fn keep_for_later(&mut self, address: &str, frame: &Bytes) -> Result<(), End> {
        let Some(attachment) = self.addresses.get_mut(address) else { return Ok(()) };
        // A copy: keeping the frame itself would keep the whole read buffer it is a part of.
        attachment.queue.push_back(Bytes::copy_from_slice(frame));
        self.waiting_bytes += kept_bytes(frame);
        let is_too_much =
            attachment.queue.len() > limits::PENDING_FRAMES || self.waiting_bytes > limits::PENDING_BYTES;
        if is_too_much || !self.line.keeps(self.waiting_bytes) {
            return Err(CloseCode::TooMany.into());
        }
        Ok(())
    }

    /// Frames do not wait any more.
    pub(super) fn keep_less(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
        // Less than before always fits.
        self.line.keeps(self.waiting_bytes);
    }

    /// Since when addresses wait for a token.
    pub(super) fn waiting_since(&self) -> impl Iterator<Item = Instant> {
        self.addresses.values().filter_map(|attachment| match attachment.stage {
            Stage::Waiting(since) => Some(since),
            Stage::Joining | Stage::Open(_) => None,
        })
    }

    /// Refuses the addresses that have waited for a token for too long.
    pub(super) fn refuse_late(&mut self, patience: Duration) -> Result<(), End> {
        let now = Instant::now();
        let is_late =
            |stage: &Stage| matches!(stage, Stage::Waiting(since) if now.duration_since(*since) >= patience);
        let late: Vec<Arc<str>> = self
            .addresses
            .iter()
            .filter(|(_, attachment)| is_late(&attachment.stage))
            .map(|(address, _)| address.clone())
            .collect();
        for address in late {
            if let Some(Attachment { queue, .. }) = self.addresses.remove(&address) {
                self.keep_less(queue.iter().map(kept_bytes).sum());
            }
            self.refuse(&address, &not_signed_in("no token came for this address in time"))?;
        }
        Ok(())
    }
}

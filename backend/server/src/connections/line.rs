//! One connection, watched from below HTTP and WebSockets.
//!
//! A connection is given up when the head of a request drips, when nobody asks anything for long, and when
//! nobody takes an answer. Once it is a WebSocket, its frames are followed as far as to know how many pieces a
//! message came in and how long that took: the library above joins pieces without counting them, and empty ones
//! would never end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ensemble_protocol::error::CloseCode;
use ensemble_protocol::limits;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::ConnectionTimes;

/// What the layers above a connection tell it and learn from it.
#[derive(Debug, Clone)]
pub(crate) struct Line(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    at: At,
    /// What came since we last said something: the requests that wait for an answer.
    request: Head,
    /// Bytes that came and were not asked for yet by [`Line::take_bytes`].
    bytes: usize,
    /// When something came last.
    heard: Instant,
    /// When the other side took something last, as far as the system's own buffers tell.
    sent_at: Instant,
    /// Bytes it took.
    sent_bytes: u64,
    fault: Option<Fault>,
    /// Bytes that came on the socket before anybody signed in; nothing once somebody has.
    unsigned: Option<usize>,
    /// Bytes of messages that are kept until they can be handled.
    kept: usize,
    memory: Share,
}

impl State {
    /// Takes the share of memory for what is held; false when there is not enough.
    fn takes(&mut self) -> bool {
        let held = match &self.at {
            At::Idle(_) => 0,
            At::Head(_) | At::Request => self.bytes,
            At::Socket(frames) => self.unsigned.unwrap_or_else(|| {
                usize::try_from(frames.bytes).unwrap_or(usize::MAX).saturating_add(self.kept)
            }),
        };
        self.memory.set(held.saturating_sub(limits::UNFINISHED_FREE))
    }
}

/// A share of what all connections may hold together of what is not complete.
#[derive(Debug)]
struct Share {
    /// What is left for all.
    left: Arc<AtomicUsize>,
    taken: usize,
}

impl Share {
    /// Takes or gives back, so that so much is taken; false when there is not enough.
    fn set(&mut self, wanted: usize) -> bool {
        if wanted <= self.taken {
            self.left.fetch_add(self.taken - wanted, Ordering::Relaxed);
        } else {
            let more = wanted - self.taken;
            let take = |left: usize| left.checked_sub(more);
            if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return false;
            }
        }
        self.taken = wanted;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What a connection is at.
#[derive(Debug)]
enum At {
    /// Between requests, since then.
    Idle(Instant),
    /// The head of a request is coming, since then.
    Head(Instant),
    /// A request is being answered.
    Request,
    /// It is a WebSocket.
    Socket(Frames),
}

/// Why a connection was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The head of a request took too long, or none came.
    NoRequest,
    /// An answer was not taken.
    Unread,
    /// A message came in too many pieces.
    Pieces,
    /// A message took too long.
    Drip,
    /// There is no memory for what is not complete.
    NoMemory,
}

impl Fault {
    /// How a WebSocket is closed for it.
    pub(crate) const fn close_code(self) -> CloseCode {
        match self {
            // No client makes such a message.
            Self::Pieces => CloseCode::BadFrame,
            Self::NoMemory => CloseCode::TooMany,
            // A bad network may: come back.
            Self::NoRequest | Self::Unread | Self::Drip => CloseCode::Silent,
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let why = match fault {
            Fault::NoRequest => "no request came in time",
            Fault::Unread => "the answer was not taken in time",
            Fault::Pieces => "a message came in too many pieces",
            Fault::Drip => "a message took too long",
            Fault::NoMemory => "there is no memory for more",
        };
        Self::new(io::ErrorKind::TimedOut, why)
    }
}

impl Line {
    /// A line on which nothing was said yet; `memory` is what all lines may still hold of what is not complete.
    pub(super) fn new(memory: &Arc<AtomicUsize>) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State {
            at: At::Idle(now),
            request: Head::default(),
            bytes: 0,
            heard: now,
            sent_at: now,
            sent_bytes: 0,
            fault: None,
            unsigned: Some(0),
            kept: 0,
            memory: Share { left: memory.clone(), taken: 0 },
        })))
    }

    /// Somebody has signed in: from here on only what is not complete counts, and what is kept.
    pub(crate) fn signed_in(&self) {
        let mut state = self.0.lock();
        state.unsigned = None;
        // What was kept before has counted until now, so there is enough.
        state.takes();
    }

    /// So many bytes of messages are kept until they can be handled; false when there is no memory for them.
    pub(crate) fn keeps(&self, bytes: usize) -> bool {
        let mut state = self.0.lock();
        state.kept = bytes;
        state.takes()
    }

    /// A request has been read.
    pub(super) fn asked(&self) {
        self.0.lock().at = At::Request;
    }

    /// Its answer is ready to be sent.
    pub(super) fn answered(&self) {
        let mut state = self.0.lock();
        if matches!(state.at, At::Request) {
            state.at = At::Idle(Instant::now());
            state.bytes = 0;
            state.takes();
        }
    }

    /// From the next byte on it is a WebSocket; false if something came after the request that asks for it.
    ///
    /// A client waits for the answer before it says anything; one that does not would not be followed.
    pub(crate) fn becomes_socket(&self) -> bool {
        let mut state = self.0.lock();
        let is_bare = matches!(state.at, At::Request) && state.request.is_one();
        if is_bare {
            state.at = At::Socket(Frames::default());
            state.bytes = 0;
            state.takes();
        }
        is_bare
    }

    /// Bytes that came since this was asked last, framing and all.
    pub(crate) fn take_bytes(&self) -> usize {
        std::mem::take(&mut self.0.lock().bytes)
    }

    /// When something came last.
    pub(crate) fn heard(&self) -> Instant {
        self.0.lock().heard
    }

    /// When the other side took something last.
    pub(crate) fn sent_at(&self) -> Instant {
        self.0.lock().sent_at
    }

    /// Bytes it took.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.0.lock().sent_bytes
    }

    /// Why it was given up, if it was.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.lock().fault
    }

    fn received(&self, bytes: &[u8]) -> Result<(), Fault> {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.heard = now;
        state.bytes += bytes.len();
        let state = &mut *state;
        let followed = match &mut state.at {
            At::Socket(frames) => {
                if let Some(all) = &mut state.unsigned {
                    *all += bytes.len();
                }
                frames.follow(bytes, now)
            }
            at => {
                if matches!(at, At::Idle(_)) {
                    *at = At::Head(now);
                }
                state.request.follow(bytes);
                true
            }
        };
        state.fault = if !followed {
            Some(Fault::Pieces)
        } else if !state.takes() {
            Some(Fault::NoMemory)
        } else {
            None
        };
        state.fault.map_or(Ok(()), Err)
    }

    fn sent(&self, bytes: usize) {
        let mut state = self.0.lock();
        if bytes > 0 {
            state.sent_at = Instant::now();
            state.sent_bytes += bytes as u64;
        }
        state.request = Head::default();
        if let At::Idle(since) = &mut state.at {
            *since = Instant::now();
        }
    }

    /// Until when something has to come, and what is wrong if nothing does.
    fn deadline(&self, times: &ConnectionTimes) -> Option<(Instant, Fault)> {
        match &mut self.0.lock().at {
            At::Idle(since) => Some((*since + times.idle, Fault::NoRequest)),
            At::Head(since) => Some((*since + times.head, Fault::NoRequest)),
            At::Request => None,
            At::Socket(frames) => Some((frames.deadline(times.message, Instant::now())?, Fault::Drip)),
        }
    }

    fn is_socket(&self) -> bool {
        matches!(self.0.lock().at, At::Socket(_))
    }

    fn give_up(&self, fault: Fault) -> io::Error {
        self.0.lock().fault = Some(fault);
        fault.into()
    }
}

/// Where a request's head ends: at the first empty line.
#[derive(Debug)]
struct Head {
    /// Nothing but the end of a line came on this line.
    is_empty_line: bool,
    heads: usize,
    /// Whether the last byte was the end of a head.
    is_at_end: bool,
}

impl Default for Head {
    fn default() -> Self {
        Self { is_empty_line: true, heads: 0, is_at_end: false }
    }
}

impl Head {
    fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.is_at_end = *byte == b'\n' && self.is_empty_line;
            self.heads += usize::from(self.is_at_end);
            match byte {
                b'\n' => self.is_empty_line = true,
                b'\r' => {}
                _ => self.is_empty_line = false,
            }
        }
    }

    /// One head, and nothing after it.
    const fn is_one(&self) -> bool {
        self.heads == 1 && self.is_at_end
    }
}

/// Where in a WebSocket message the other side is.
#[derive(Debug, Default)]
struct Frames {
    /// The beginning of a frame's header.
    header: [u8; 14],
    header_len: usize,
    /// Bytes of the frame's content that are still to come.
    left: u64,
    /// Whether this frame ends a message.
    ends_message: bool,
    /// Frames of the message that is not complete.
    pieces: usize,
    /// Bytes of it.
    bytes: u64,
    /// How long it was waited for.
    waited: Duration,
    /// Since when it is being waited for, while it is.
    waiting: Option<Instant>,
}

impl Frames {
    /// Follows what came; false when a message comes in too many pieces.
    fn follow(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        if let Some(since) = self.waiting.take() {
            self.waited += now.duration_since(since);
        }
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let content = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= content as u64;
                self.bytes += content as u64;
                bytes = &bytes[content..];
            } else {
                self.header[self.header_len] = *first;
                self.header_len += 1;
                self.bytes += 1;
                bytes = rest;
                let Some((left, is_data)) = self.header() else { continue };
                self.left = left;
                self.ends_message = is_data && self.header[0] & 0x80 != 0;
                self.header_len = 0;
                self.pieces += usize::from(is_data);
                if self.pieces > limits::MESSAGE_PIECES {
                    return false;
                }
            }
            if self.left == 0 && self.header_len == 0 && (self.ends_message || self.pieces == 0) {
                *self = Self::default();
            }
        }
        true
    }

    /// How long the content is and whether it is a part of a message, once the header is complete.
    fn header(&self) -> Option<(u64, bool)> {
        let [first, second, ..] = self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (length, size) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 2),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                (u64::from_be_bytes(length), 8)
            }
            short => (u64::from(short), 0),
        };
        (self.header_len >= 2 && self.header_len == 2 + size + mask).then_some((length, first & 0x0f < 8))
    }

    const fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.left == 0 && self.pieces == 0
    }

    /// Until when more of the message has to come, where one is under way. What came buys time.
    fn deadline(&mut self, patience: Duration, now: Instant) -> Option<Instant> {
        if self.is_between_messages() {
            return None;
        }
        let bought = Duration::from_secs(self.bytes / limits::MESSAGE_BYTES_PER_SECOND);
        let since = *self.waiting.get_or_insert(now);
        Some(since + (patience + bought).saturating_sub(self.waited))
    }
}

/// A stream that gives itself up when its line has a fault, and keeps a place taken while it is open.
#[derive(Debug)]
pub(super) struct Watched<S, P> {
    stream: S,
    line: Line,
    times: ConnectionTimes,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    _place: P,
}

impl<S, P> Watched<S, P> {
    pub(super) fn new(stream: S, line: Line, place: P, times: ConnectionTimes) -> Self {
        Self { stream, line, times, reading: None, writing: None, _place: place }
    }
}

/// Waits until then with a timer that is made when it is first needed.
fn poll_until(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    if timer.deadline() != until {
        timer.as_mut().reset(until);
    }
    timer.as_mut().poll(cx)
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Watched<S, P> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(fault) = this.line.fault() {
            return Poll::Ready(Err(fault.into()));
        }
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            read?;
            return Poll::Ready(Ok(this.line.received(&buffer.filled()[before..])?));
        }
        let Some((until, fault)) = this.line.deadline(&this.times) else { return Poll::Pending };
        ready!(poll_until(&mut this.reading, until, cx));
        Poll::Ready(Err(this.line.give_up(fault)))
    }
}

impl<S: Unpin, P: Unpin> Watched<S, P> {
    /// Notes whether a write went on, and gives up when none does for too long. A WebSocket's writer has a time
    /// of its own, and a code for it.
    fn written(&mut self, wrote: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Ready(wrote) => {
                self.writing = None;
                self.line.sent(*wrote.as_ref().unwrap_or(&0));
                Poll::Ready(wrote)
            }
            Poll::Pending if self.line.is_socket() => Poll::Pending,
            Poll::Pending => {
                let until = self
                    .writing
                    .as_ref()
                    .map_or_else(|| Instant::now() + self.times.unread, |timer| timer.deadline());
                ready!(poll_until(&mut self.writing, until, cx));
                Poll::Ready(Err(self.line.give_up(Fault::Unread)))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Watched<S, P> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(wrote, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.written(wrote, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a client sends it.
    fn frame(first: u8, content: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match content {
            0..126 => frame.push(0x80 | content as u8),
            126..=0xffff => {
                frame.push(0xfe);
                frame.extend((content as u16).to_be_bytes());
            }
            _ => {
                frame.push(0xff);
                frame.extend((content as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + 4 + content, 7);
        frame
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut sent = Vec::new();
        for content in [0, 1, 125, 126, 500, 65_535, 65_536, 70_000] {
            sent.extend(frame(0x02, content));
            sent.extend(frame(0x89, 3));
            sent.extend(frame(0x00, content));
            sent.extend(frame(0x80, content));
            sent.extend(frame(0x82, content));
        }
        for step in [1, 2, 3, 7, 4096, sent.len()] {
            let mut frames = Frames::default();
            let mut between = 0;
            for chunk in sent.chunks(step) {
                assert!(frames.follow(chunk, Instant::now()));
                between += usize::from(frames.is_between_messages());
            }
            assert!(frames.is_between_messages(), "in steps of {step}");
            assert!(step > 1 || between >= 16, "it saw every end: {between}");
        }
    }

    #[test]
    fn a_message_has_only_so_many_pieces() {
        let mut frames = Frames::default();
        let now = Instant::now();
        assert!(frames.follow(&frame(0x02, 1), now));
        for _ in 1..limits::MESSAGE_PIECES {
            assert!(frames.follow(&frame(0x00, 0), now));
            assert!(frames.follow(&frame(0x89, 0), now), "a ping in between is none");
        }
        assert!(!frames.follow(&frame(0x00, 0), now));
    }

    #[test]
    fn only_waiting_for_a_message_counts() {
        let second = Duration::from_secs(1);
        let mut frames = Frames::default();
        let start = Instant::now();
        assert_eq!(frames.deadline(second * 60, start), None, "nothing is under way");
        frames.follow(&frame(0x02, 10)[..3], start);
        assert_eq!(frames.deadline(second * 60, start), Some(start + second * 60));
        frames.follow(&[7], start + second * 50);
        // Nobody looked for a while, which is not the other side's fault.
        let later = start + second * 500;
        assert_eq!(frames.deadline(second * 60, later), Some(later + second * 10));
    }

    #[test]
    fn a_body_takes_memory_until_it_is_answered() {
        let memory = Arc::new(AtomicUsize::new(100_000));
        let (one, other) = (Line::new(&memory), Line::new(&memory));
        for line in [&one, &other] {
            line.received(b"POST / HTTP/1.1\r\n\r\n").unwrap();
            line.asked();
        }
        let chunk = vec![7; limits::UNFINISHED_FREE];
        one.received(&chunk).unwrap();
        one.received(&chunk).unwrap();
        other.received(&chunk).unwrap();
        assert_eq!(other.received(&chunk), Err(Fault::NoMemory));
        one.answered();
        drop(other);
        assert_eq!(memory.load(Ordering::Relaxed), 100_000, "all is given back");
    }

    #[test]
    fn one_head_and_nothing_else_asks_for_a_socket() {
        for (sent, is_one) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n\u{1}", false),
            ("GET / HTTP/1.1\r\nHost: a\n\nmore\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n", false),
            ("\r\nGET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n", false),
        ] {
            for step in [1, 5, 1000] {
                let mut head = Head::default();
                sent.as_bytes().chunks(step).for_each(|chunk| head.follow(chunk));
                assert_eq!(head.is_one(), is_one, "{sent:?}");
            }
        }
    }
}

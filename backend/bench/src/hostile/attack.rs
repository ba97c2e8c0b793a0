//! One hostile connection after another, by somebody with an account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ensemble_protocol::lib0::Reader;
use ensemble_protocol::sync::{Message, SyncMessage};
use tokio_tungstenite::tungstenite;

use super::Answers;
use super::frames::{Fixture, Wire, damage, honest};
use crate::client::{Receiver, Sender, ServerFrame, ServerMessage, auth_frame, connect};
use crate::random::Random;
use crate::typing::Run;

/// Frames sent on one connection, if it lives so long.
const FRAMES: usize = 64;
/// How long the answer to a frame is waited for. What comes later is not lost, only not counted.
const WAIT: Duration = Duration::from_secs(2);
/// One connection in so many sends a damaged frame before it has signed in.
const STRANGER_EVERY: u64 = 8;
/// One connection in so many asks for a damaged address.
const PATH_EVERY: u64 = 16;
/// One honest keystroke for so many damaged frames, so that there is something to damage.
const HONEST_EVERY: u64 = 4;

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Every fixture, in every message that carries bytes.
    Fixtures,
    /// Damaged frames, until a moment or until everybody together has sent so many.
    Damage {
        /// When to stop.
        until: Instant,
        /// How many at the most.
        frames: u64,
    },
}

/// What came of a frame.
enum Answer {
    /// The connection goes on.
    Goes(String),
    /// It does not.
    Over(String),
}

/// What a hostile one types when it is honest.
struct Typed {
    client: u64,
    run: Run,
    /// The next keystroke.
    update: Vec<u8>,
}

/// Somebody hostile.
pub(crate) struct Attacker {
    pub(crate) wire: Wire,
    pub(crate) base: String,
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) random: Random,
    pub(crate) answers: Arc<Answers>,
    pub(crate) frames: Arc<AtomicU64>,
    pub(crate) fixtures: Arc<Vec<Fixture>>,
    /// Which part of the fixtures is theirs.
    pub(crate) share: usize,
    /// Into how many parts the fixtures are divided.
    pub(crate) shares: usize,
}

impl Attacker {
    /// Attacks until the work is done. Fails if the server cannot be reached any more.
    pub(crate) async fn run(mut self, work: Work) -> anyhow::Result<()> {
        match work {
            Work::Fixtures => self.send_fixtures().await,
            Work::Damage { until, frames } => {
                let client = self.random.client_id();
                let mut run = Run::new(client);
                let mut typed = Typed { client, update: run.append('m'), run };
                while Instant::now() < until && self.frames.load(Ordering::Relaxed) < frames {
                    self.session(&mut typed, until).await?;
                }
                Ok(())
            }
        }
    }

    async fn send_fixtures(&mut self) -> anyhow::Result<()> {
        let fixtures = self.fixtures.clone();
        for fixture in fixtures.iter().skip(self.share).step_by(self.shares) {
            for frame in self.wire.all_messages(&self.address, &fixture.bytes) {
                // A connection of its own each, since most are closed.
                let Some((mut sender, mut receiver)) = self.join().await? else { continue };
                if let Some(base) = &fixture.base {
                    let base = self.wire.sync(&self.address, SyncMessage::Update(base));
                    if let Answer::Over(_) = self.say(base, &mut sender, &mut receiver).await {
                        continue;
                    }
                }
                let mut answer = self.say(frame, &mut sender, &mut receiver).await;
                if matches!(answer, Answer::Goes(_)) {
                    // It may have waited for the handshake.
                    let nothing = self.wire.sync(&self.address, SyncMessage::Step2(&[0, 0]));
                    answer = self.say(nothing, &mut sender, &mut receiver).await;
                }
                self.count(answer);
            }
        }
        Ok(())
    }

    fn count(&self, answer: Answer) -> bool {
        let (text, is_over) = match answer {
            Answer::Goes(text) => (text, false),
            Answer::Over(text) => (text, true),
        };
        self.answers.count(self.wire, text);
        is_over
    }

    /// One connection.
    async fn session(&mut self, typed: &mut Typed, until: Instant) -> anyhow::Result<()> {
        if self.random.below(PATH_EVERY) == 0 {
            self.ask_for_a_damaged_address().await;
        }
        let is_stranger = self.wire == Wire::Hocuspocus && self.random.below(STRANGER_EVERY) == 0;
        let joined = if is_stranger {
            Some(connect(&self.base, &self.wire.path(&self.address, &self.token)).await?)
        } else {
            self.join().await?
        };
        let Some((mut sender, mut receiver)) = joined else { return Ok(()) };
        for _ in 0..FRAMES {
            if Instant::now() >= until {
                break;
            }
            let is_honest = self.random.below(HONEST_EVERY) == 0;
            let frame = if is_honest {
                self.wire.sync(&self.address, SyncMessage::Update(&typed.update)).to_vec()
            } else {
                self.next_frame(typed)
            };
            self.frames.fetch_add(1, Ordering::Relaxed);
            let answer = if is_stranger {
                if sender.send(frame.into()).await.is_err() {
                    break;
                }
                let auth = auth_frame(&self.address, &self.token);
                self.say(auth, &mut sender, &mut receiver).await
            } else {
                self.say(frame.into(), &mut sender, &mut receiver).await
            };
            // Typed on only once that is in, or all that follows would have to wait for it.
            if is_honest && matches!(answer, Answer::Goes(_)) {
                typed.update = typed.run.append('m');
            }
            if self.count(answer) || is_stranger {
                break;
            }
        }
        Ok(())
    }

    /// Half of the time a whole frame is damaged, half of the time only what it carries, which gets further.
    fn next_frame(&mut self, typed: &Typed) -> Vec<u8> {
        let fixture = &self.fixtures[self.random.below(self.fixtures.len() as u64) as usize].bytes;
        // The bombs would fill every frame.
        let fixture = &fixture[..fixture.len().min(512)];
        let kinds = honest(self.wire, &self.address, &self.token, typed.client, &typed.update);
        let whole = &kinds[self.random.below(kinds.len() as u64) as usize];
        if self.random.below(2) == 0 {
            return damage(whole, fixture, &mut self.random);
        }
        let payload = damage(&typed.update, fixture, &mut self.random);
        let messages = self.wire.all_messages(&self.address, &payload);
        messages[self.random.below(2) as usize].to_vec()
    }

    /// A damaged path in the upgrade: the answer is a status, or a socket that is closed.
    async fn ask_for_a_damaged_address(&mut self) {
        let path = self.wire.path(&self.address, &self.token).into_bytes();
        let mut path = damage(&path[1..], b"../%2e%2e/%00?token=&&", &mut self.random);
        path.retain(|byte| byte.is_ascii_alphanumeric() || b"-._~/?&=%".contains(byte));
        path.truncate(1024);
        let path = format!("/{}", String::from_utf8_lossy(&path));
        let answer = match connect(&self.base, &path).await {
            Ok((sender, mut receiver)) => {
                let ended = tokio::time::timeout(Duration::from_millis(100), receiver.next()).await;
                drop(sender);
                match (ended, receiver.closed_with()) {
                    (_, Some(code)) => format!("damaged URL: socket closed {code}"),
                    _ => "damaged URL: socket open".into(),
                }
            }
            Err(error) => match error.downcast_ref::<tungstenite::Error>() {
                Some(tungstenite::Error::Http(answer)) => {
                    format!("damaged URL: status {}", answer.status().as_u16())
                }
                _ => "damaged URL: no answer".into(),
            },
        };
        self.answers.count(self.wire, answer);
    }

    /// Joins as an honest client does; nothing when this one was turned away.
    async fn join(&mut self) -> anyhow::Result<Option<(Sender, Receiver)>> {
        let (mut sender, mut receiver) =
            connect(&self.base, &self.wire.path(&self.address, &self.token)).await?;
        if self.wire == Wire::Hocuspocus {
            sender.send(auth_frame(&self.address, &self.token)).await?;
        }
        let answer = self.wire.sync(&self.address, SyncMessage::Step2(&[0, 0]));
        match self.say(answer, &mut sender, &mut receiver).await {
            Answer::Goes(_) => Ok(Some((sender, receiver))),
            Answer::Over(text) => {
                self.answers.count(self.wire, format!("on joining: {text}"));
                Ok(None)
            }
        }
    }

    /// Sends a frame and a question, and reads until the question is answered: then the frame was dealt with.
    async fn say(&self, frame: Bytes, sender: &mut Sender, receiver: &mut Receiver) -> Answer {
        let question = self.wire.sync(&self.address, SyncMessage::Step1(&[0]));
        // A socket that is closed meanwhile says with which code.
        let _ = sender.feed(frame).await;
        let _ = sender.feed(question).await;
        let _ = sender.flush().await;
        let nothing = self.wire.sync(&self.address, SyncMessage::Step2(&[0, 0]));
        let mut heard = "taken or passed over".to_owned();
        let deadline = tokio::time::Instant::now() + WAIT;
        loop {
            let frame = match tokio::time::timeout_at(deadline, receiver.next()).await {
                Err(_) => return Answer::Over("no longer in the document".into()),
                Ok(Ok(Some(frame))) => frame,
                Ok(_) => {
                    return Answer::Over(match receiver.closed_with() {
                        Some(code) => format!("socket closed {code}"),
                        None => "socket reset".into(),
                    });
                }
            };
            match self.read(&frame) {
                Some(ServerMessage::Sync(SyncMessage::Step2(_))) => return Answer::Goes(heard),
                // Updates wait until this is answered. What becomes of them is counted with the next frame.
                Some(ServerMessage::Sync(SyncMessage::Step1(_))) => {
                    let _ = sender.send(nothing.clone()).await;
                }
                Some(ServerMessage::SyncStatus(false)) => heard = "refused".into(),
                Some(ServerMessage::Closed(reason)) => {
                    return Answer::Over(format!("document closed: {reason}"));
                }
                Some(ServerMessage::Denied(reason)) => return Answer::Over(format!("denied: {reason}")),
                Some(ServerMessage::Stateless(_)) => heard = "request answered".into(),
                _ => {}
            }
        }
    }

    fn read<'a>(&self, frame: &'a Bytes) -> Option<ServerMessage<'a>> {
        match self.wire {
            Wire::Hocuspocus => match ServerFrame::read(frame).ok()? {
                ServerFrame::Addressed { address, message } if address == self.address => Some(message),
                _ => None,
            },
            Wire::YWebsocket => match Message::read(&mut Reader::new(frame)).ok()? {
                Message::Sync(message) => Some(ServerMessage::Sync(message)),
                _ => None,
            },
        }
    }
}

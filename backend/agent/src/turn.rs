//! A turn: its states and the legal steps between them.
//!
//! ```text
//! queued ──> running ──> done
//!    │          ├──────> interrupted
//!    └──────────┴──────> interrupted, failed
//! ```
//!
//! What people decided about it follows from its hunks, see [`review_of`].

use ensemble_protocol::id::TurnId;
use ensemble_protocol::rest::{HunkState, Review, TurnStatus};

use crate::error::AgentError;

/// Where a turn stands: how far its work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The turn.
    pub id: TurnId,
    /// How far its work is.
    pub status: TurnStatus,
}

/// A step of a turn's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its agent takes it up.
    Begin,
    /// It came to its end.
    Finish,
    /// Somebody stopped it, or its server went away.
    Interrupt,
    /// It could not go on.
    Fail,
}

/// What was decided about a turn with these hunks: `said`, where it changed nothing.
///
/// It is open while anything it did is, and mixed when some of it was accepted and some rejected.
pub fn review_of(hunks: impl IntoIterator<Item = HunkState>, said: Review) -> Review {
    let (mut open, mut accepted, mut rejected) = (false, false, false);
    for state in hunks {
        match state {
            HunkState::Applied => open = true,
            HunkState::Accepted => accepted = true,
            HunkState::Rejected => rejected = true,
            HunkState::Missed | HunkState::Reverted => {}
        }
    }
    match (open, accepted, rejected) {
        (true, ..) => Review::Open,
        (false, true, true) => Review::Mixed,
        (false, true, false) => Review::Accepted,
        (false, false, true) => Review::Rejected,
        (false, false, false) => said,
    }
}

impl Turn {
    /// A turn just asked for.
    pub const fn new(id: TurnId) -> Self {
        Self { id, status: TurnStatus::Queued }
    }

    /// The turn after a step of its work.
    ///
    /// Refused when the turn is over, and when it begins twice or ends before it began.
    pub fn step(self, step: Step) -> Result<Self, AgentError> {
        let status = match (self.status, step) {
            (TurnStatus::Queued, Step::Begin) => TurnStatus::Running,
            (TurnStatus::Running, Step::Finish) => TurnStatus::Done,
            (TurnStatus::Queued | TurnStatus::Running, Step::Interrupt) => TurnStatus::Interrupted,
            (TurnStatus::Queued | TurnStatus::Running, Step::Fail) => TurnStatus::Failed,
            (TurnStatus::Running, Step::Begin) => return Err(AgentError::TurnRunning(self.id)),
            _ => return Err(AgentError::TurnNotRunning(self.id)),
        };
        Ok(Self { status, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUSES: [TurnStatus; 5] = [
        TurnStatus::Queued,
        TurnStatus::Running,
        TurnStatus::Done,
        TurnStatus::Interrupted,
        TurnStatus::Failed,
    ];

    fn turn(status: TurnStatus) -> Turn {
        let id = TurnId::from_slice(&[7; 16]).expect("sixteen bytes");
        Turn { status, ..Turn::new(id) }
    }

    #[test]
    fn work_goes_only_forward() {
        use TurnStatus::{Done, Failed, Interrupted, Queued, Running};
        let legal = [
            (Queued, Step::Begin, Running),
            (Queued, Step::Interrupt, Interrupted),
            (Queued, Step::Fail, Failed),
            (Running, Step::Finish, Done),
            (Running, Step::Interrupt, Interrupted),
            (Running, Step::Fail, Failed),
        ];
        for status in STATUSES {
            for step in [Step::Begin, Step::Finish, Step::Interrupt, Step::Fail] {
                let expected = legal.iter().find(|(from, by, _)| *from == status && *by == step);
                let reached = turn(status).step(step).ok().map(|turn| turn.status);
                assert_eq!(reached, expected.map(|(_, _, to)| *to), "{status:?} {step:?}");
            }
        }
    }

    #[test]
    fn what_was_decided_follows_from_the_hunks() {
        use HunkState::{Accepted, Applied, Missed, Rejected, Reverted};
        let cases: [(&[HunkState], Review); 6] = [
            (&[Applied, Accepted, Rejected], Review::Open),
            (&[Accepted, Missed], Review::Accepted),
            (&[Rejected, Reverted, Rejected], Review::Rejected),
            (&[Rejected, Accepted], Review::Mixed),
            (&[Missed], Review::Rejected),
            (&[], Review::Rejected),
        ];
        for (hunks, review) in cases {
            assert_eq!(review_of(hunks.iter().copied(), Review::Rejected), review, "{hunks:?}");
        }
    }
}

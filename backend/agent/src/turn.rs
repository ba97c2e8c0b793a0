//! A turn: its states and the legal steps between them.
//!
//! ```text
//! queued ──> running ──> done
//!    │          ├──────> interrupted
//!    └──────────┴──────> interrupted, failed
//!
//! once it is over:  open ──> accepted ──> rejected
//!                     └─────────────────> rejected
//! ```

use ensemble_protocol::id::TurnId;
use ensemble_protocol::rest::{Review, TurnStatus};

use crate::error::AgentError;

/// Where a turn stands: how far its work is, and what people decided about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The turn.
    pub id: TurnId,
    /// How far its work is.
    pub status: TurnStatus,
    /// What people decided.
    pub review: Review,
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

/// What people decide about a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its edits stay.
    Accept,
    /// Its edits are taken back.
    Reject,
}

impl Turn {
    /// A turn just asked for.
    pub const fn new(id: TurnId) -> Self {
        Self { id, status: TurnStatus::Queued, review: Review::Open }
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

    /// The turn after a decision about it.
    ///
    /// Refused while it is at work, and when it was decided before; what was accepted may still be rejected.
    pub fn review(self, verdict: Verdict) -> Result<Self, AgentError> {
        if !self.status.is_final() {
            return Err(AgentError::TurnRunning(self.id));
        }
        let review = match (self.review, verdict) {
            (Review::Open, Verdict::Accept) => Review::Accepted,
            (Review::Open | Review::Accepted, Verdict::Reject) => Review::Rejected,
            _ => return Err(AgentError::TurnAlreadyReviewed(self.id)),
        };
        Ok(Self { review, ..self })
    }
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::error::ErrorCode;

    use super::*;

    const STATUSES: [TurnStatus; 5] = [
        TurnStatus::Queued,
        TurnStatus::Running,
        TurnStatus::Done,
        TurnStatus::Interrupted,
        TurnStatus::Failed,
    ];

    fn turn(status: TurnStatus, review: Review) -> Turn {
        let id = TurnId::from_slice(&[7; 16]).expect("sixteen bytes");
        Turn { status, review, ..Turn::new(id) }
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
                let reached = turn(status, Review::Open).step(step).ok().map(|turn| turn.status);
                assert_eq!(reached, expected.map(|(_, _, to)| *to), "{status:?} {step:?}");
            }
        }
    }

    #[test]
    fn only_a_turn_that_is_over_is_reviewed() {
        for status in STATUSES {
            let reviewed = turn(status, Review::Open).review(Verdict::Reject);
            match reviewed {
                Ok(turn) => assert!(status.is_final() && turn.review == Review::Rejected),
                Err(error) => assert!(!status.is_final() && error.code() == ErrorCode::TurnRunning),
            }
        }
    }

    #[test]
    fn what_was_accepted_may_still_be_rejected_and_nothing_twice() {
        let accepted = turn(TurnStatus::Done, Review::Open).review(Verdict::Accept).unwrap();
        assert_eq!(accepted.review, Review::Accepted);
        assert!(accepted.review(Verdict::Accept).is_err());
        let rejected = accepted.review(Verdict::Reject).unwrap();
        for verdict in [Verdict::Accept, Verdict::Reject] {
            assert_eq!(rejected.review(verdict).unwrap_err().code(), ErrorCode::TurnAlreadyReviewed);
        }
    }
}

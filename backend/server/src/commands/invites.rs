//! Invite links.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::InviteId;
use ensemble_protocol::rest;
use ensemble_store::{Change, Invite, Write};
use time::{Duration, OffsetDateTime};

use super::Commands;
use crate::access::{Access, Action};
use crate::auth::NewSecret;
use crate::error::ApiError;

/// The longest a link that ends may last. Longer is never meant, and sums of times cannot overflow.
const LONGEST: Duration = Duration::days(3650);

/// A link just made.
#[derive(Debug)]
pub struct NewInvite {
    /// Its id.
    pub id: InviteId,
    /// Its secret.
    pub secret: NewSecret,
    /// When it stops working.
    pub expires_at: Option<OffsetDateTime>,
}

impl Commands {
    /// Makes a link.
    pub async fn create_invite(
        &self,
        access: &Access,
        request: rest::CreateInvite,
    ) -> Result<NewInvite, ApiError> {
        access.authorize(Action::ManageInvites)?;
        let refuse = |why| ApiError::new(ErrorCode::BadRequest, why);
        if request.max_uses == Some(0) {
            return Err(refuse("a link that nobody may use is of no use: `max_uses` is 1 or more"));
        }
        let expires_at = match request.expires_in {
            None => None,
            Some(0) => {
                return Err(refuse("a link that is over at once is of no use: `expires_in` is 1 or more"));
            }
            Some(seconds) => {
                let life = i64::try_from(seconds).map_or(LONGEST, Duration::seconds).min(LONGEST);
                Some(self.clock.now() + life)
            }
        };
        let id = InviteId::from_uuid(self.ids.uuid());
        let secret = self.auth.new_invite_secret();
        let change = Change::CreateInvite {
            id,
            project: access.project.id,
            role: request.role,
            hash: secret.hash,
            created_by: access.caller.member.id,
            expires_at,
            max_uses: request.max_uses,
        };
        self.store.commit(Write::changes([change])).await?;
        Ok(NewInvite { id, secret, expires_at })
    }

    /// The links of a project, newest first, without their secrets.
    pub async fn list_invites(&self, access: &Access) -> Result<Vec<rest::Invite>, ApiError> {
        access.authorize(Action::ListInvites)?;
        let invites = self.store.invites_of(access.project.id).await?;
        Ok(invites.iter().map(shown).collect())
    }

    /// Makes a link useless. Who joined by it stays.
    pub async fn revoke_invite(&self, access: &Access, id: InviteId) -> Result<(), ApiError> {
        access.authorize(Action::ManageInvites)?;
        let invite = self.store.invite(id).await?.filter(|invite| invite.project == access.project.id);
        if invite.is_none() {
            return Err(ApiError::new(ErrorCode::InviteNotFound, "there is no such link in this project"));
        }
        self.store.commit(Write::changes([Change::RevokeInvite { id }])).await?;
        Ok(())
    }
}

fn shown(invite: &Invite) -> rest::Invite {
    rest::Invite {
        id: invite.id,
        role: invite.role,
        created_at: invite.created_at.into(),
        expires_at: invite.expires_at.map(Into::into),
        max_uses: invite.max_uses,
        uses: invite.uses,
        revoked: invite.revoked_at.is_some(),
    }
}

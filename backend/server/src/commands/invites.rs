//! Invite links.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{InviteId, MemberId, Role};
use ensemble_protocol::rest;
use ensemble_store::{Change, Invite, Member, Membership, Write};
use time::{Duration, OffsetDateTime};

use super::{Commands, members};
use crate::access::{Access, Action};
use crate::auth::NewSecret;
use crate::error::ApiError;

/// The longest a link that ends may last. Longer is never meant, and sums of times cannot overflow.
const LONGEST: Duration = Duration::days(3650);

/// What becomes of those who came by a link that is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhoCame {
    /// They stay: the door is closed, the room is not emptied.
    Stays,
    /// They are taken out, and whoever revokes the link stays.
    Leaves,
}

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
        let members = self.store.members_of(access.project.id).await?;
        let you = access.caller.member.id;
        let shown = invites.iter().map(|invite| {
            let came = members.iter().filter(|(_, place)| came_by(invite, place, you)).count();
            shown(invite, came as u32)
        });
        Ok(shown.collect())
    }

    /// Makes a link useless, and takes those who came by it out where that is asked for, in one commit.
    pub async fn revoke_invite(
        &self,
        access: &Access,
        id: InviteId,
        who_came: WhoCame,
    ) -> Result<(), ApiError> {
        access.authorize(Action::ManageInvites)?;
        let invite = self.store.invite(id).await?.filter(|invite| invite.project == access.project.id);
        let Some(invite) = invite else {
            return Err(ApiError::new(ErrorCode::InviteNotFound, "there is no such link in this project"));
        };
        let revoke = Change::RevokeInvite { id };
        if who_came == WhoCame::Stays {
            self.store.commit(Write::changes([revoke])).await?;
            return Ok(());
        }
        access.authorize(Action::ManageMembers)?;
        let (this, project, you) = (self.clone(), access.project.clone(), access.caller.member.id);
        self.finish("invite.revoke", async move {
            let _guard = this.lock(project.id).await;
            let (leave, stay): (Vec<_>, Vec<_>) = this
                .store
                .members_of(project.id)
                .await?
                .into_iter()
                .partition(|(_, place)| came_by(&invite, place, you));
            // Whoever asks is an owner and stays, unless somebody else was quicker.
            if !stay.iter().any(|(_, place)| place.role == Role::Owner) {
                return Err(members::owner_stays());
            }
            let leave: Vec<Member> = leave.into_iter().map(|(member, _)| member).collect();
            this.take_out(&project, &leave, vec![revoke]).await
        })
        .await
    }
}

/// Whether revoking a link takes somebody out with it: they are not who revokes it, and what they may do is still
/// what it gave them. A server of the version before does not note that an owner changed a role, so that the role
/// is compared, too.
fn came_by(invite: &Invite, place: &Membership, you: MemberId) -> bool {
    place.invite == Some(invite.id) && place.role == invite.role && place.member != you
}

fn shown(invite: &Invite, members: u32) -> rest::Invite {
    rest::Invite {
        id: invite.id,
        role: invite.role,
        created_at: invite.created_at.into(),
        expires_at: invite.expires_at.map(Into::into),
        max_uses: invite.max_uses,
        uses: invite.uses,
        members,
        revoked: invite.revoked_at.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use ensemble_protocol::id::ProjectId;
    use ensemble_store::{Hash, Ids as _, SeededIds};

    use super::*;

    #[test]
    fn whose_role_is_not_the_links_any_more_did_not_come_by_it() {
        let ids = SeededIds::new(1);
        let (project, id) = (ProjectId::from_uuid(ids.uuid()), InviteId::from_uuid(ids.uuid()));
        let (member, you) = (MemberId::from_uuid(ids.uuid()), MemberId::from_uuid(ids.uuid()));
        let created_at = OffsetDateTime::UNIX_EPOCH;
        let invite = Invite {
            id,
            project,
            role: Role::Editor,
            hash: Hash([0; 32]),
            created_by: you,
            created_at,
            expires_at: None,
            max_uses: None,
            uses: 1,
            revoked_at: None,
        };
        let place = Membership { project, member, role: Role::Editor, created_at, invite: Some(id) };
        let other = InviteId::from_uuid(ids.uuid());
        for (place, came) in [
            (place, true),
            (Membership { member: you, ..place }, false),
            (Membership { invite: None, ..place }, false),
            (Membership { invite: Some(other), ..place }, false),
            (Membership { role: Role::Viewer, ..place }, false),
        ] {
            assert_eq!(came_by(&invite, &place, you), came, "{place:?}");
        }
    }
}

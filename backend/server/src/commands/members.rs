//! The members of a project: what they may do, and that they go.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{MemberId, Role};
use ensemble_protocol::rest;
use ensemble_store::{Change, Member, Project, Write};
use ensemble_sync::room::ReplicaWrite;

use super::{Commands, tree};
use crate::access::{Access, Action, scope_of};
use crate::error::ApiError;

impl Commands {
    /// Changes somebody's role, also on the sockets they have open. The last owner stays one.
    pub async fn change_member(
        &self,
        access: &Access,
        member: MemberId,
        request: rest::ChangeMember,
    ) -> Result<rest::Member, ApiError> {
        access.authorize(Action::ManageMembers)?;
        let (this, project, role) = (self.clone(), access.project.clone(), request.role);
        self.finish("member.change", async move {
            let _guard = this.lock(project.id).await;
            let member = this.member_to_change(&project, member, Some(role)).await?;
            this.compare_tree(&project).await?;
            // From here on the role is an owner's decision, whatever link it once came by.
            let put = Change::PutMembership { project: project.id, member: member.id, role, invite: None };
            let write = ReplicaWrite {
                changes: vec![put],
                updates: Vec::new(),
                edits: vec![tree::put_member(&member, role)],
            };
            this.commit_tree(&project, write).await?;
            this.rooms.set_scope(project.id, member.id, Some(scope_of(role))).await;
            if role < Action::Prompt.needs() {
                this.turns().interrupt_all_of(project.id, &[member.id]).await?;
            }
            Ok(rest::Member { id: member.id, name: member.name, color: member.color, role })
        })
        .await
    }

    /// Takes somebody out of a project, and off its sockets. The last owner stays.
    pub async fn remove_member(&self, access: &Access, member: MemberId) -> Result<(), ApiError> {
        access.authorize(Action::ManageMembers)?;
        let (this, project) = (self.clone(), access.project.clone());
        self.finish("member.remove", async move {
            let _guard = this.lock(project.id).await;
            let member = this.member_to_change(&project, member, None).await?;
            this.take_out(&project, &[member], Vec::new()).await
        })
        .await
    }

    /// Takes people out of a project and off its sockets, stops their turns, and makes some other changes in the
    /// same commit. The caller holds the project's lock and has seen that an owner stays.
    pub(super) async fn take_out(
        &self,
        project: &Project,
        members: &[Member],
        mut changes: Vec<Change>,
    ) -> Result<(), ApiError> {
        if members.is_empty() {
            self.store.commit(Write::changes(changes)).await?;
            return Ok(());
        }
        self.compare_tree(project).await?;
        let ids: Vec<MemberId> = members.iter().map(|member| member.id).collect();
        changes.extend(ids.iter().map(|id| Change::DeleteMembership { project: project.id, member: *id }));
        let edits = members.iter().map(tree::remove_member).collect();
        self.commit_tree(project, ReplicaWrite { changes, updates: Vec::new(), edits }).await?;
        // Everybody is off the sockets before the first turn is waited for.
        for id in &ids {
            self.rooms.set_scope(project.id, *id, None).await;
        }
        self.turns().interrupt_all_of(project.id, &ids).await?;
        Ok(())
    }

    /// Somebody in the project, unless they are its last owner and would not be one any more. The caller holds
    /// the project's lock.
    async fn member_to_change(
        &self,
        project: &Project,
        id: MemberId,
        role: Option<Role>,
    ) -> Result<Member, ApiError> {
        let mut members = self.store.members_of(project.id).await?;
        let others = members.iter().filter(|(member, _)| member.id != id);
        let owned = others.into_iter().any(|(_, membership)| membership.role == Role::Owner);
        let at = members
            .iter()
            .position(|(member, _)| member.id == id)
            .ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such member in this project"))?;
        let (member, _) = members.swap_remove(at);
        if !owned && role != Some(Role::Owner) {
            return Err(owner_stays());
        }
        Ok(member)
    }
}

/// The refusal of what would leave a project without an owner.
pub(super) fn owner_stays() -> ApiError {
    let detail = "a project has an owner: make somebody else one before the last one goes";
    ApiError::new(ErrorCode::NoAccess, detail)
}

//! What a caller may do: one place for HTTP, JSON-RPC and sockets.

use std::sync::Arc;

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::hocuspocus::Scope;
use ensemble_protocol::id::{ProjectId, Role};
use ensemble_store::{Project, Store};

use crate::auth::{Caller, Credential};
use crate::error::ApiError;

/// Something a caller wants to do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read documents and see who is there.
    Read,
    /// Change documents and the tree.
    Edit,
    /// Give prompts, stop turns, accept and reject them.
    Prompt,
    /// See which invite links there are.
    ListInvites,
    /// Make and revoke invite links.
    ManageInvites,
    /// Change what others may do, and take them out.
    ManageMembers,
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Edit, Self::Prompt, Self::ListInvites, Self::ManageInvites, Self::ManageMembers];

    /// The least role that may.
    pub const fn needs(self) -> Role {
        match self {
            Self::Read => Role::Viewer,
            Self::Edit | Self::Prompt | Self::ListInvites => Role::Editor,
            Self::ManageInvites | Self::ManageMembers => Role::Owner,
        }
    }
}

/// A caller in a project they may enter.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who.
    pub caller: Caller,
    /// Where.
    pub project: Project,
    /// As what: the member's role, or less where the token is limited.
    pub role: Role,
    /// The member's role, whatever they signed in with.
    pub granted: Role,
}

impl Access {
    /// Refuses an action that the role does not allow.
    pub fn authorize(&self, action: Action) -> Result<(), ApiError> {
        authorize(self.role, action)
    }

    /// What a socket may do with a text of the project. Replicas are read-only for everybody.
    pub fn scope(&self) -> Scope {
        scope_of(self.role)
    }
}

/// What a role may do with a text.
pub fn scope_of(role: Role) -> Scope {
    if role >= Action::Edit.needs() { Scope::ReadWrite } else { Scope::ReadOnly }
}

/// Whether a role allows an action.
pub fn authorize(role: Role, action: Action) -> Result<(), ApiError> {
    if role >= action.needs() {
        return Ok(());
    }
    Err(match role {
        Role::Viewer => ApiError::new(ErrorCode::ReadOnly, "you may read this project but not change it"),
        _ => ApiError::new(ErrorCode::NoAccess, "only an owner of the project may do this"),
    })
}

/// Lets a caller into a project.
///
/// Somebody who is not in it is told the same as if it did not exist.
pub async fn enter(store: &Arc<dyn Store>, caller: Caller, project: ProjectId) -> Result<Access, ApiError> {
    if matches!(caller.credential, Credential::Token { project: Some(only), .. } if only != project) {
        return Err(not_in_project());
    }
    let limit = caller.limit();
    let membership = store.membership(project, caller.member.id).await?.ok_or_else(not_in_project)?;
    let project = store.project(project).await?.ok_or_else(not_in_project)?;
    Ok(Access { caller, project, role: membership.role.min(limit), granted: membership.role })
}

/// The refusal of who is not in a project.
pub(crate) fn not_in_project() -> ApiError {
    ApiError::new(ErrorCode::ProjectNotFound, "there is no such project, or you are not in it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [A1] A role allows what it includes and nothing above.
    #[test]
    fn a_role_allows_what_it_includes_and_nothing_above() {
        use Action::{Edit, ListInvites, ManageInvites, ManageMembers, Prompt, Read};
        for (role, allowed) in [
            (Role::Viewer, &[Read][..]),
            (Role::Editor, &[Read, Edit, Prompt, ListInvites]),
            (Role::Owner, &[Read, Edit, Prompt, ListInvites, ManageInvites, ManageMembers]),
        ] {
            for action in Action::ALL {
                assert_eq!(authorize(role, action).is_ok(), allowed.contains(&action), "{role:?} {action:?}");
            }
        }
        assert_eq!(authorize(Role::Viewer, Edit).unwrap_err().code, ErrorCode::ReadOnly);
        assert_eq!(authorize(Role::Editor, ManageInvites).unwrap_err().code, ErrorCode::NoAccess);
        assert_eq!(scope_of(Role::Viewer), Scope::ReadOnly);
        assert_eq!(scope_of(Role::Editor), Scope::ReadWrite);
    }
}

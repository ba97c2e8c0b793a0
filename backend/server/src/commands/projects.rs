//! Making projects, joining them, and looking at them.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, InviteId, MemberId, ProjectId, Role};
use ensemble_protocol::rest;
use ensemble_store::{Change, Hash, Member, Project, Write};
use ensemble_sync::room::ReplicaWrite;

use super::{Commands, names, tree};
use crate::access::{Access, scope_of};
use crate::auth::{Caller, Credential, JOINED_BY_LINK, MADE_WITH_PROJECT, NewSecret};
use crate::error::{ApiError, invite_invalid};

/// What a project called by nobody is called, when the first owner comes by the first link.
const FIRST_PROJECT: &str = "My project";

/// The files of the template `welcome`.
const WELCOME: [(&str, &str); 2] = [
    ("README.md", include_str!("../templates/welcome/README.md")),
    ("main.py", include_str!("../templates/welcome/main.py")),
];

/// What a project is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Template {
    /// Nothing.
    Empty,
    /// Two files that say what one can do here.
    Welcome,
}

impl Template {
    fn read(name: Option<&str>) -> Result<Self, ApiError> {
        match name {
            None | Some("welcome") => Ok(Self::Welcome),
            Some("empty") => Ok(Self::Empty),
            Some(other) => Err(ApiError::new(
                ErrorCode::BadRequest,
                format!("there is no template `{other}`; there are `welcome` and `empty`"),
            )),
        }
    }

    const fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Empty => &[],
            Self::Welcome => &WELCOME,
        }
    }
}

/// Somebody came into a project.
#[derive(Debug)]
pub struct Entered {
    /// The project.
    pub project: Project,
    /// As what.
    pub role: Role,
    /// A bearer token.
    pub token: NewSecret,
    /// A new session, for a browser that had none.
    pub session: Option<NewSecret>,
}

/// Somebody made a project.
#[derive(Debug)]
pub struct NewProject {
    /// The owner, in it.
    pub entered: Entered,
    /// The secret of a link that makes people editors.
    pub invite: NewSecret,
}

/// A person, known from before or just made, with the rows that make them known.
struct Person {
    member: Member,
    changes: Vec<Change>,
    session: Option<NewSecret>,
    renamed: bool,
}

impl Person {
    /// Whether nobody knew them before.
    const fn is_new(&self) -> bool {
        self.session.is_some()
    }

    /// Gives somebody new another color.
    fn set_color(&mut self, chosen: String) {
        for change in &mut self.changes {
            if let Change::CreateMember { color, .. } = change {
                color.clone_from(&chosen);
            }
        }
        self.member.color = chosen;
    }
}

impl Commands {
    /// Makes a project with the caller as its owner. A token for one project is not for making others.
    pub async fn create_project(
        &self,
        caller: Option<Caller>,
        request: rest::CreateProject,
    ) -> Result<NewProject, ApiError> {
        caller.as_ref().map_or(Ok(()), Caller::whole)?;
        self.may_create(caller.as_ref()).await?;
        let name = names::check(&request.name, "the project's name")?;
        let template = Template::read(request.template.as_deref())?;
        let this = self.clone();
        self.finish("project.create", async move {
            // A person who has a name keeps it: `your_name` is for those who have none yet.
            let your_name = if caller.is_some() { None } else { request.your_name };
            let person = this.person(caller, your_name.as_deref())?;
            this.make_project(person, name, template, None).await
        })
        .await
    }

    async fn may_create(&self, caller: Option<&Caller>) -> Result<(), ApiError> {
        if self.access == rest::Access::Open {
            return Ok(());
        }
        // Where projects are by invitation, those who own one may make more.
        if let Some(caller) = caller {
            let projects = self.store.projects_of(caller.member.id).await?;
            if projects.iter().any(|(_, membership)| membership.role == Role::Owner) {
                return Ok(());
            }
        }
        Err(ApiError::new(
            ErrorCode::ProjectsClosed,
            "on this server only owners of a project may make another",
        ))
    }

    /// The caller, or somebody new with a session of their own.
    fn person(&self, caller: Option<Caller>, name: Option<&str>) -> Result<Person, ApiError> {
        let name = name.map(|name| names::check(name, "the name")).transpose()?;
        if let Some(Caller { mut member, .. }) = caller {
            let mut changes = Vec::new();
            let renamed = name.as_ref().is_some_and(|name| *name != member.name);
            if let Some(name) = name.filter(|_| renamed) {
                changes.push(Change::RenameMember { id: member.id, name: name.clone() });
                member.name = name;
            }
            return Ok(Person { member, changes, session: None, renamed });
        }
        let member = Member {
            id: MemberId::from_uuid(self.ids.uuid()),
            name: name.unwrap_or_else(|| names::guest(&*self.ids)),
            color: names::color(&*self.ids, std::iter::empty()),
            created_at: self.clock.now(),
        };
        let (session, session_row) = self.auth.new_session(member.id);
        let member_row =
            Change::CreateMember { id: member.id, name: member.name.clone(), color: member.color.clone() };
        Ok(Person { member, changes: vec![member_row, session_row], session: Some(session), renamed: false })
    }

    /// Makes a project; by the first link of a server, that link leads its owner in again until they were seen.
    async fn make_project(
        &self,
        mut person: Person,
        name: String,
        template: Template,
        first_link: Option<Hash>,
    ) -> Result<NewProject, ApiError> {
        let id = ProjectId::from_uuid(self.ids.uuid());
        let mut project = Project {
            id,
            name,
            tree: DocumentId::from_uuid(self.ids.uuid()),
            turns: DocumentId::from_uuid(self.ids.uuid()),
            created_at: self.clock.now(),
        };
        let member = person.member.id;
        let (token, token_row) = self.auth.new_token(member, id, Role::Owner, MADE_WITH_PROJECT);
        let invite = self.auth.new_invite_secret();
        person.changes.extend([
            Change::CreateProject {
                id,
                name: project.name.clone(),
                tree: project.tree,
                turns: project.turns,
            },
            Change::PutMembership { project: id, member, role: Role::Owner, invite: None },
            token_row,
            Change::CreateInvite {
                id: InviteId::from_uuid(self.ids.uuid()),
                project: id,
                role: Role::Editor,
                hash: invite.hash,
                created_by: member,
                expires_at: None,
                max_uses: None,
            },
        ]);
        let first_link = first_link.map(|hash| (InviteId::from_uuid(self.ids.uuid()), hash));
        person.changes.extend(first_link.map(|(invite, hash)| Change::CreateInvite {
            id: invite,
            project: id,
            role: Role::Owner,
            hash,
            created_by: member,
            expires_at: None,
            max_uses: None,
        }));
        project.created_at = self.store.commit(Write::changes(person.changes)).await?.at;
        if let Some((invite, _)) = first_link {
            self.auth.opened_first_link(invite);
        }

        // From here on the project exists; what the tree lacks after a crash is put there when it is opened.
        let guard = self.lock(id).await;
        self.compare_tree(&project).await?;
        let mut write = ReplicaWrite::default();
        for (path, text) in template.files() {
            self.add_document(&project, member, path, text, &mut write)?;
        }
        if !write.changes.is_empty() {
            self.commit_tree(&project, write).await?;
        }
        drop(guard);
        let entered = Entered { project, role: Role::Owner, token, session: person.session };
        Ok(NewProject { entered, invite })
    }

    /// Joins by a link. Somebody who is in already keeps the higher of both roles. A token for one project joins
    /// none, not even its own by a better link.
    pub async fn join(&self, caller: Option<Caller>, request: rest::Join) -> Result<Entered, ApiError> {
        caller.as_ref().map_or(Ok(()), Caller::whole)?;
        let this = self.clone();
        self.finish("project.join", async move { this.join_now(caller, request).await }).await
    }

    async fn join_now(&self, caller: Option<Caller>, request: rest::Join) -> Result<Entered, ApiError> {
        let limit = caller.as_ref().map_or(Role::Owner, Caller::limit);
        let mut person = self.person(caller, request.name.as_deref())?;
        let hash = crate::auth::hash(&request.secret);
        if let Some(_making) = self.auth.first_link(hash).await
            && self.store.invite_by_hash(hash).await?.is_none()
        {
            let made = self.make_project(person, FIRST_PROJECT.into(), Template::Welcome, Some(hash)).await?;
            return Ok(made.entered);
        }
        let invite = self.store.invite_by_hash(hash).await?.ok_or_else(invite_invalid)?;
        let project = self.store.project(invite.project).await?.ok_or_else(invite_invalid)?;
        // From here on nobody changes who is in, so that what is read is true when it is written.
        let guard = self.lock(project.id).await;
        if person.is_new() {
            let others = self.store.members_of(project.id).await?;
            let others = others.iter().map(|(member, _)| member.color.as_str());
            person.set_color(names::color(&*self.ids, others));
        }
        let member = person.member.clone();
        let held = self.store.membership(project.id, member.id).await?.map(|membership| membership.role);
        // Somebody who is in already opens their old link again, also when it lets nobody else in.
        let is_in = held.is_some_and(|held| held.min(limit) >= invite.role);
        if !is_in && !invite.works_at(self.clock.now()) {
            return Err(invite_invalid());
        }
        let role = held.map_or(invite.role, |held| held.max(invite.role));
        // A limited token does not become more by a link that gives less.
        let token_role = role.min(limit.max(invite.role));
        let (token, token_row) = self.auth.new_token(member.id, project.id, token_role, JOINED_BY_LINK);
        person.changes.push(token_row);
        if held != Some(role) {
            // Coming back by the same link is not another use of it.
            person.changes.push(Change::UseInvite { id: invite.id });
            person.changes.push(Change::PutMembership {
                project: project.id,
                member: member.id,
                role,
                invite: Some(invite.id),
            });
        }

        self.compare_tree(&project).await?;
        let changed = held != Some(role) || person.renamed;
        if changed {
            let edits = vec![tree::put_member(&member, role)];
            let write = ReplicaWrite { changes: person.changes, updates: Vec::new(), edits };
            self.commit_tree(&project, write).await?;
        } else {
            self.store.commit(Write::changes(person.changes)).await?;
        }
        if held.is_some_and(|held| held != role) {
            self.rooms.set_scope(project.id, member.id, Some(scope_of(role))).await;
        }
        drop(guard);
        if person.renamed {
            self.rename_elsewhere(&member, project.id).await?;
        }
        Ok(Entered { project, role: token_role, token, session: person.session })
    }

    /// Tells a person's new name in their other projects.
    async fn rename_elsewhere(&self, member: &Member, except: ProjectId) -> Result<(), ApiError> {
        for (project, _) in self.store.projects_of(member.id).await? {
            if project.id != except {
                let guard = self.lock(project.id).await;
                // They may have been taken out, or been given another role, before it was their turn.
                let Some(membership) = self.store.membership(project.id, member.id).await? else { continue };
                let edits = vec![tree::put_member(member, membership.role)];
                self.commit_tree(&project, ReplicaWrite { edits, ..ReplicaWrite::default() }).await?;
                drop(guard);
            }
        }
        Ok(())
    }

    /// The projects of the caller, newest membership first.
    pub async fn list_projects(&self, caller: &Caller) -> Result<Vec<rest::ProjectSummary>, ApiError> {
        let only = match caller.credential {
            Credential::Token { project, .. } => project,
            Credential::Session(_) => None,
        };
        let limit = caller.limit();
        let projects = self.store.projects_of(caller.member.id).await?;
        Ok(projects
            .into_iter()
            .filter(|(project, _)| only.is_none_or(|only| only == project.id))
            .map(|(project, membership)| summary(&project, membership.role.min(limit)))
            .collect())
    }

    /// A project, whole.
    pub async fn show_project(&self, access: &Access) -> Result<rest::Project, ApiError> {
        let members = self.store.members_of(access.project.id).await?;
        let members = members
            .into_iter()
            .map(|(member, membership)| rest::Member {
                id: member.id,
                name: member.name,
                color: member.color,
                role: membership.role,
            })
            .collect();
        let you = &access.caller.member;
        Ok(rest::Project {
            id: access.project.id,
            name: access.project.name.clone(),
            role: access.role,
            created_at: access.project.created_at.into(),
            you: rest::Member {
                id: you.id,
                name: you.name.clone(),
                color: you.color.clone(),
                role: access.role,
            },
            members,
            agents: self.agents(),
        })
    }
}

/// A project as lists show it.
pub(crate) fn summary(project: &Project, role: Role) -> rest::ProjectSummary {
    rest::ProjectSummary {
        id: project.id,
        name: project.name.clone(),
        role,
        created_at: project.created_at.into(),
    }
}

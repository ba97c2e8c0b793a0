//! People, and how they come in.

use std::sync::Arc;
use std::time::Duration;

use ensemble_protocol::id::{DocumentId, InviteId, MemberId, ProjectId, Role, SessionId, TokenId};
use ensemble_store::{Change, Clock as _, Conflict, DocumentKind, Ids as _, StoreError, Write};

use crate::support::{World, on_every_store};

/// A project begins with its replicas and its owner.
#[tokio::test]
async fn a_project_has_replicas_and_members() {
    on_every_store(async |world| {
        let (id, owner) = world.project().await;
        let project = world.store.project(id).await.unwrap().unwrap();
        assert_eq!(project.name, "Engine");
        for (replica, kind) in [(project.tree, DocumentKind::Tree), (project.turns, DocumentKind::Turns)] {
            let document = world.store.document(replica).await.unwrap().unwrap();
            assert_eq!((document.project, document.kind, document.epoch), (id, kind, 1));
            world.append(replica, "replica").await;
            let error = world.commit([Change::DeleteDocument { id: replica }]).await.unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "replicas are no documents of people");
        }
        assert!(world.store.documents_of(id).await.unwrap().is_empty());

        world.clock.advance(Duration::from_secs(1));
        let bob = world.member("Bob").await;
        world
            .commit([
                Change::PutMembership { project: id, member: bob, role: Role::Viewer, invite: None },
                Change::RenameMember { id: bob, name: "Robert".to_owned() },
                Change::RenameProject { id, name: "Engines".to_owned() },
            ])
            .await
            .unwrap();
        let members = world.store.members_of(id).await.unwrap();
        let names: Vec<_> =
            members.iter().map(|(member, place)| (member.name.as_str(), place.role)).collect();
        assert_eq!(names, [("Ada", Role::Owner), ("Robert", Role::Viewer)]);

        let joined = world.store.membership(id, bob).await.unwrap().unwrap().created_at;
        world.clock.advance(Duration::from_secs(1));
        let role = Role::Editor;
        world.commit([Change::PutMembership { project: id, member: bob, role, invite: None }]).await.unwrap();
        let place = world.store.membership(id, bob).await.unwrap().unwrap();
        assert_eq!((place.role, place.created_at), (Role::Editor, joined));
        let projects = world.store.projects_of(bob).await.unwrap();
        assert_eq!(projects.len(), 1);
        assert_eq!(projects[0].0.name, "Engines");

        world.commit([Change::DeleteMembership { project: id, member: bob }]).await.unwrap();
        assert_eq!(world.store.membership(id, bob).await.unwrap(), None);
        assert!(world.store.membership(id, owner).await.unwrap().is_some());
    })
    .await;
}

/// What is not there is an answer when asked for, and an error when written to.
#[tokio::test]
async fn what_is_not_there_is_said() {
    on_every_store(async |world| {
        let (_, owner) = world.project().await;
        let nobody = MemberId::from_uuid(world.ids.uuid());
        let nowhere = ProjectId::from_uuid(world.ids.uuid());
        assert_eq!(world.store.member(nobody).await.unwrap(), None);
        assert_eq!(world.store.project(nowhere).await.unwrap(), None);
        let writes = [
            Change::RenameMember { id: nobody, name: "Nemo".to_owned() },
            Change::PutMembership { project: nowhere, member: owner, role: Role::Owner, invite: None },
            world.creating(nowhere, "main.rs").1,
            Change::UseInvite { id: InviteId::from_uuid(world.ids.uuid()) },
        ];
        for change in writes {
            let error = world.commit([change.clone()]).await.unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "{change:?}: {error}");
        }
        world.store.ping().await.unwrap();
    })
    .await;
}

/// Sign-ins and tokens are found by the hash of their secret until they end.
#[tokio::test]
async fn sessions_and_tokens_are_found_until_they_end() {
    on_every_store(async |world| {
        let (project, member) = world.project().await;
        let (session, token) = (SessionId::from_uuid(world.ids.uuid()), TokenId::from_uuid(world.ids.uuid()));
        let (cookie, secret) = (world.hash(), world.hash());
        let soon = world.clock.now() + Duration::from_mins(1);
        world
            .commit([
                Change::CreateSession { id: session, member, hash: cookie, expires_at: soon },
                Change::CreateToken {
                    id: token,
                    hash: secret,
                    member,
                    project: Some(project),
                    role: Role::Editor,
                    name: "editor plugin".to_owned(),
                    expires_at: Some(soon),
                },
            ])
            .await
            .unwrap();
        assert_eq!(world.store.session_by_hash(cookie).await.unwrap().unwrap().member, member);
        let found = world.store.token_by_hash(secret).await.unwrap().unwrap();
        assert_eq!((found.id, found.project, found.role), (token, Some(project), Role::Editor));
        assert_eq!(world.store.session_by_hash(secret).await.unwrap(), None);
        assert_eq!(world.store.token_by_hash(cookie).await.unwrap(), None);
        assert_eq!(world.store.token(token).await.unwrap().unwrap(), found);
        assert_eq!(world.store.tokens_of(found.member, 1).await.unwrap(), std::slice::from_ref(&found));
        assert_eq!(world.store.tokens_of(found.member, 0).await.unwrap(), []);

        world.clock.advance(Duration::from_secs(30));
        let later = world.clock.now() + Duration::from_mins(1);
        world.commit([Change::TouchSession { id: session, expires_at: later }]).await.unwrap();
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(world.store.token_by_hash(secret).await.unwrap(), None);
        assert_eq!(world.store.token(token).await.unwrap(), None);
        assert_eq!(world.store.tokens_of(found.member, 9).await.unwrap(), []);
        assert_eq!(world.store.sessions_of(member).await.unwrap().len(), 1);
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(world.store.session_by_hash(cookie).await.unwrap(), None);
        assert!(world.store.sessions_of(member).await.unwrap().is_empty());

        world.clock.set(soon - Duration::from_mins(1));
        world
            .commit([Change::DeleteSession { id: session }, Change::DeleteToken { id: token }])
            .await
            .unwrap();
        assert_eq!(world.store.session_by_hash(cookie).await.unwrap(), None);
        assert_eq!(world.store.token_by_hash(secret).await.unwrap(), None);
    })
    .await;
}

async fn invite(world: &World, max_uses: Option<u32>, lasts: Option<Duration>) -> (InviteId, ProjectId) {
    let (project, created_by) = world.project().await;
    let id = InviteId::from_uuid(world.ids.uuid());
    let expires_at = lasts.map(|lasts| world.clock.now() + lasts);
    let hash = world.hash();
    let invite =
        Change::CreateInvite { id, project, role: Role::Editor, hash, created_by, expires_at, max_uses };
    world.commit([invite]).await.unwrap();
    let found = world.store.invite_by_hash(hash).await.unwrap().unwrap();
    assert_eq!((found.id, found.uses), (id, 0));
    (id, project)
}

/// [A11] The link for owners that was made with its project is found again until it is revoked; no other is.
#[tokio::test]
async fn the_link_made_with_a_project_is_found() {
    on_every_store(async |world| {
        let (editors, project) = invite(&world, None, None).await;
        let created_by = world.store.invite(editors).await.unwrap().unwrap().created_by;
        let link = |project| Change::CreateInvite {
            id: InviteId::from_uuid(world.ids.uuid()),
            project,
            role: Role::Owner,
            hash: world.hash(),
            created_by,
            expires_at: None,
            max_uses: None,
        };
        world.clock.advance(Duration::from_secs(1));
        world.commit([link(project)]).await.unwrap();
        assert_eq!(world.store.first_link().await.unwrap(), None);

        let id = ProjectId::from_uuid(world.ids.uuid());
        let (tree, turns) =
            (DocumentId::from_uuid(world.ids.uuid()), DocumentId::from_uuid(world.ids.uuid()));
        world
            .commit([Change::CreateProject { id, name: "First".to_owned(), tree, turns }, link(id)])
            .await
            .unwrap();
        let found = world.store.first_link().await.unwrap().unwrap();
        assert_eq!((found.project, found.role), (id, Role::Owner));
        world.commit([Change::RevokeInvite { id: found.id }]).await.unwrap();
        assert_eq!(world.store.first_link().await.unwrap(), None);
    })
    .await;
}

/// [A4] A link for three lets three in, however many come at once, and nobody is half in.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_for_three_lets_three_in() {
    on_every_store(async |world| {
        let (id, project) = invite(&world, Some(3), None).await;
        let world = Arc::new(world);
        let guests: Vec<_> = (0..10)
            .map(|number| {
                let world = Arc::clone(&world);
                tokio::spawn(async move {
                    let member = MemberId::from_uuid(world.ids.uuid());
                    let name = format!("Guest {number}");
                    let changes = vec![
                        Change::CreateMember { id: member, name, color: "#112233".to_owned() },
                        Change::PutMembership { project, member, role: Role::Editor, invite: Some(id) },
                        Change::UseInvite { id },
                    ];
                    (member, world.store.commit(Write::changes(changes)).await)
                })
            })
            .collect();
        let mut joined = 0;
        for guest in guests {
            let (member, outcome) = guest.await.unwrap();
            let known = world.store.member(member).await.unwrap().is_some();
            assert_eq!(known, outcome.is_ok());
            match outcome {
                Ok(_) => joined += 1,
                Err(error) => assert_eq!(error.conflict(), Some(&Conflict::InviteInvalid)),
            }
        }
        assert_eq!(joined, 3);
        assert_eq!(world.store.invite(id).await.unwrap().unwrap().uses, 3);
        let members = world.store.members_of(project).await.unwrap();
        assert_eq!(members.len(), 4);
        let by_link = members.iter().filter(|(_, place)| place.invite == Some(id));
        assert_eq!(by_link.count(), 3, "everybody but the one who made the project");
    })
    .await;
}

/// A place in a project remembers the link that gave it, until somebody gives the role instead.
#[tokio::test]
async fn a_place_remembers_its_link() {
    on_every_store(async |world| {
        let (link, project) = invite(&world, None, None).await;
        let member = world.member("Bob").await;
        let put = |role, invite| Change::PutMembership { project, member, role, invite };
        world.commit([put(Role::Editor, Some(link))]).await.unwrap();
        assert_eq!(world.store.membership(project, member).await.unwrap().unwrap().invite, Some(link));
        assert_eq!(world.store.projects_of(member).await.unwrap()[0].1.invite, Some(link));
        world.commit([put(Role::Editor, None)]).await.unwrap();
        assert_eq!(world.store.membership(project, member).await.unwrap().unwrap().invite, None);

        let nothing = InviteId::from_uuid(world.ids.uuid());
        let error = world.commit([put(Role::Editor, Some(nothing))]).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    })
    .await;
}

/// A link ends at its time, or when it is revoked.
#[tokio::test]
async fn an_invite_ends() {
    on_every_store(async |world| {
        let (id, project) = invite(&world, None, Some(Duration::from_mins(1))).await;
        world.commit([Change::UseInvite { id }]).await.unwrap();
        assert!(world.store.invite(id).await.unwrap().unwrap().works_at(world.clock.now()));
        world.clock.advance(Duration::from_mins(1));
        assert!(!world.store.invite(id).await.unwrap().unwrap().works_at(world.clock.now()));
        let error = world.commit([Change::UseInvite { id }]).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::InviteInvalid));
        assert_eq!(world.store.invites_of(project).await.unwrap().len(), 1);

        let (id, _) = invite(&world, None, None).await;
        world.commit([Change::UseInvite { id }]).await.unwrap();
        for _ in 0..2 {
            world.commit([Change::RevokeInvite { id }]).await.unwrap();
        }
        let error = world.commit([Change::UseInvite { id }]).await.unwrap_err();
        assert_eq!(error.conflict(), Some(&Conflict::InviteInvalid));
        assert!(world.store.invite(id).await.unwrap().unwrap().revoked_at.is_some());
    })
    .await;
}

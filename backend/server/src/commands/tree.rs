//! The replica of a project's tree: what it says, and how it is changed.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::Role;
use ensemble_protocol::rest::{Agent, Timestamp};
use ensemble_store::{Committed, Document, Member, Project};
use ensemble_sync::RoomError;
use ensemble_sync::room::{ReplicaEdit, ReplicaWrite, Room};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::Commands;
use crate::error::ApiError;

const DOCUMENTS: &str = "documents";
const MEMBERS: &str = "members";
const AGENTS: &str = "agents";
const SETTINGS: &str = "settings";

/// A room may close between finding and asking it; so often it is opened again.
const REOPENINGS: usize = 3;

/// A document as the tree shows it.
pub(super) fn document_entry(path: &str, epoch: u32, created_at: OffsetDateTime) -> Value {
    json!({ "path": path, "kind": "text", "epoch": epoch, "created_at": Timestamp(created_at) })
}

/// Puts a document into the tree, or moves it.
pub(super) fn put_document(id: &str, entry: Value) -> ReplicaEdit {
    ReplicaEdit::set(&[DOCUMENTS], id, entry)
}

/// Takes a document out of the tree.
pub(super) fn remove_document(id: &str) -> ReplicaEdit {
    ReplicaEdit::remove(&[DOCUMENTS], id)
}

fn member_entry(member: &Member, role: Role) -> Value {
    json!({ "name": member.name, "color": member.color, "role": role })
}

/// Puts a person into the tree, or changes what it says about them.
pub(super) fn put_member(member: &Member, role: Role) -> ReplicaEdit {
    ReplicaEdit::set(&[MEMBERS], &member.id.to_string(), member_entry(member, role))
}

/// Takes a person out of the tree.
pub(super) fn remove_member(member: &Member) -> ReplicaEdit {
    ReplicaEdit::remove(&[MEMBERS], &member.id.to_string())
}

fn agent_entry(agent: &Agent) -> Value {
    json!({ "name": agent.name, "color": agent.color, "model": agent.model, "role": "fast", "demo": agent.demo })
}

/// What the tree should say, from the rows.
struct Wanted {
    maps: [(&'static str, Map<String, Value>); 4],
}

impl Wanted {
    fn new(project: &Project, documents: &[Document], members: &[(Member, Role)], agents: &[Agent]) -> Self {
        let documents = documents.iter().map(|document| {
            (document.id.to_string(), document_entry(&document.path, document.epoch, document.created_at))
        });
        let members =
            members.iter().map(|(member, role)| (member.id.to_string(), member_entry(member, *role)));
        let agents = agents.iter().map(|agent| (agent.id.clone(), agent_entry(agent)));
        let settings = [("name".to_owned(), Value::from(project.name.clone()))];
        Self {
            maps: [
                (DOCUMENTS, documents.collect()),
                (MEMBERS, members.collect()),
                (AGENTS, agents.collect()),
                (SETTINGS, settings.into_iter().collect()),
            ],
        }
    }

    /// What has to change in a tree that says `held`.
    fn edits(&self, held: &Value) -> Vec<ReplicaEdit> {
        let mut edits = Vec::new();
        for (map, wanted) in &self.maps {
            let held = held.get(*map).and_then(Value::as_object);
            for (key, value) in wanted {
                let same = held.and_then(|held| held.get(key)).is_some_and(|held| is_same(held, value));
                if !same {
                    edits.push(ReplicaEdit::set(&[*map], key, value.clone()));
                }
            }
            let gone = held.into_iter().flat_map(Map::keys).filter(|key| !wanted.contains_key(*key));
            edits.extend(gone.map(|key| ReplicaEdit::remove(&[*map], key)));
        }
        edits
    }
}

/// Whether two entries say the same. The time a document was made may differ by the time its commit took, and
/// numbers of a CRDT are floating-point.
fn is_same(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            held.len() == wanted.len()
                && wanted.iter().all(|(key, value)| {
                    held.get(key).is_some_and(|held| key == "created_at" || is_same(held, value))
                })
        }
        (Value::Number(held), Value::Number(wanted)) => held.as_f64() == wanted.as_f64(),
        _ => held == wanted,
    }
}

impl Commands {
    /// The room of a project's tree, in which the tree says what the rows say.
    ///
    /// Rows and tree change together, except that a project's rows come first, since a room needs a document.
    /// So after a crash between the two, or when the server has another model than before, the tree is brought
    /// up to date here.
    pub async fn open_tree(&self, project: &Project) -> Result<Room, ApiError> {
        if self.inner.compared.lock().contains(&project.id) {
            return Ok(self.rooms.open(project.tree).await?);
        }
        let guard = self.lock(project.id).await;
        self.compare_tree(project).await?;
        drop(guard);
        Ok(self.rooms.open(project.tree).await?)
    }

    /// Brings the tree up to date. The caller holds the project's lock.
    pub(super) async fn compare_tree(&self, project: &Project) -> Result<(), ApiError> {
        if self.inner.compared.lock().contains(&project.id) {
            return Ok(());
        }
        let documents = self.store.documents_of(project.id).await?;
        let members = self.store.members_of(project.id).await?;
        let members: Vec<_> =
            members.into_iter().map(|(member, membership)| (member, membership.role)).collect();
        let wanted = Wanted::new(project, &documents, &members, &self.agents());
        let held = self.rooms.open(project.tree).await?.read().await?;
        let held: Value = if held.text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&held.text).map_err(ApiError::internal)?
        };
        let edits = wanted.edits(&held);
        if !edits.is_empty() {
            self.commit_tree(project, ReplicaWrite { edits, ..ReplicaWrite::default() }).await?;
        }
        self.inner.compared.lock().insert(project.id);
        Ok(())
    }

    /// Commits rows and what they mean for the tree in one transaction.
    pub(super) async fn commit_tree(
        &self,
        project: &Project,
        write: ReplicaWrite,
    ) -> Result<Committed, ApiError> {
        for _ in 0..REOPENINGS {
            let room = self.rooms.open(project.tree).await?;
            match room.commit(write.clone()).await {
                Err(RoomError::Closed(_)) => {}
                outcome => return Ok(outcome?),
            }
        }
        Err(ApiError::new(ErrorCode::Busy, "the project is being closed; try again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        let ids = ensemble_store::SeededIds::new(1);
        let uuid = || ensemble_store::Ids::uuid(&ids);
        Project {
            id: ensemble_protocol::id::ProjectId::from_uuid(uuid()),
            name: "Compiler".into(),
            tree: ensemble_protocol::id::DocumentId::from_uuid(uuid()),
            turns: ensemble_protocol::id::DocumentId::from_uuid(uuid()),
            created_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_what_differs_is_changed() {
        let agent = Agent {
            id: "agent".into(),
            name: "Agent".into(),
            color: "#000000".into(),
            model: "demo".into(),
            demo: true,
        };
        let wanted = Wanted::new(&project(), &[], &[], std::slice::from_ref(&agent));
        assert_eq!(wanted.edits(&Value::Null).len(), 2);

        let mut held = json!({
            "documents": { "gone": {} },
            "agents": { "agent": agent_entry(&agent) },
            "settings": { "name": "Compiler" },
        });
        assert_eq!(wanted.edits(&held), [ReplicaEdit::remove(&["documents"], "gone")]);
        held["agents"]["agent"]["model"] = "another".into();
        assert_eq!(wanted.edits(&held).len(), 2);
    }

    #[test]
    fn numbers_and_times_are_compared_by_meaning() {
        let wanted = document_entry("a.py", 1, OffsetDateTime::UNIX_EPOCH);
        let mut held = wanted.clone();
        held["epoch"] = json!(1.0);
        held["created_at"] = "2026-01-01T00:00:00Z".into();
        assert!(is_same(&held, &wanted));
        held["path"] = "b.py".into();
        assert!(!is_same(&held, &wanted));
    }
}

//! Every command once; a route and a JSON-RPC method are two ways to call it.
//!
//! A command takes somebody's [`Access`](crate::access::Access) and what they ask for, and checks what their role
//! allows itself, so that no way in can forget to. Rows and the replica that shows them are committed in one
//! transaction of the tree's room.

mod agents;
mod attribution;
mod documents;
mod edits;
mod invites;
mod members;
mod names;
mod path;
mod projects;
pub mod rpc;
mod sign_ins;
mod tree;
mod turns;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};

use ensemble_agent::Supervisor;
use ensemble_protocol::id::ProjectId;
use ensemble_protocol::rest;
use ensemble_store::{Clock, Ids, Store};
use ensemble_sync::registry::RoomRegistry;
use parking_lot::Mutex;

use self::agents::AgentDocuments;
use crate::auth::Auth;
use crate::config::DocumentLimits;
use crate::error::ApiError;
use crate::lifecycle::Tasks;

pub use self::invites::WhoCame;
pub(crate) use self::projects::summary;
pub use self::projects::{Entered, NewProject};

/// What can be done.
#[derive(Clone)]
pub struct Commands {
    inner: Arc<Inner>,
}

/// What commands work with.
pub struct Parts {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Live documents.
    pub rooms: RoomRegistry,
    /// Secrets.
    pub auth: Auth,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// Who may make projects.
    pub access: rest::Access,
    /// Commands that have to come to their end, even if nobody waits for the answer.
    pub tasks: Tasks,
    /// How often people may ask for what is dear.
    pub rates: crate::rates::Rates,
    /// How many documents there may be.
    pub documents: DocumentLimits,
}

struct Inner {
    parts: Parts,
    /// Set once, right after the supervisor is made, which needs the commands itself.
    turns: OnceLock<Supervisor>,
    locks: Mutex<HashMap<ProjectId, Weak<tokio::sync::Mutex<()>>>>,
    /// Projects whose tree was compared with the rows since the server started.
    compared: Mutex<HashSet<ProjectId>>,
}

impl std::ops::Deref for Commands {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.inner.parts
    }
}

impl Commands {
    /// Works with these.
    pub fn new(parts: Parts) -> Self {
        let inner =
            Inner { parts, turns: OnceLock::new(), locks: Mutex::default(), compared: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The commands about documents as agents use them.
    pub fn for_agents(&self) -> Arc<dyn ensemble_agent::Documents> {
        Arc::new(AgentDocuments(Arc::downgrade(&self.inner)))
    }

    /// Tells who does the turns. Called once, before anything else is asked.
    pub fn set_turns(&self, turns: Supervisor) {
        let _ = self.inner.turns.set(turns);
    }

    /// Who does the turns.
    pub fn turns(&self) -> &Supervisor {
        self.inner.turns.get().expect("the supervisor is set before anything is asked")
    }

    /// The project's agents.
    pub fn agents(&self) -> Vec<rest::Agent> {
        self.turns().agents()
    }

    /// One command at a time changes a project's tree: paths are compared without regard to case, which the
    /// database does not do.
    async fn lock(&self, project: ProjectId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.inner.locks.lock();
            locks.retain(|_, lock| lock.strong_count() > 0);
            let held = locks.get(&project).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                locks.insert(project, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// Brings a command to its end even if whoever asked goes away meanwhile.
    async fn finish<T: Send + 'static>(
        &self,
        name: &'static str,
        command: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        match self.tasks.spawn(name, command).await {
            Ok(Some(outcome)) => outcome,
            _ => Err(ApiError::internal(format!("command `{name}` died"))),
        }
    }
}

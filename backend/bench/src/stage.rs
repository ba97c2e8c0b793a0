//! A server of its own with a project, for scenarios about turns.

use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use crate::api::{Api, NewProject};
use crate::server::{Process, ServerOptions, data_folder};

/// How long a turn may take beyond what its tokens need.
const TURN_TIME: Duration = Duration::from_mins(1);

/// A server with a project.
pub(crate) struct Stage {
    /// The server.
    pub(crate) process: Process,
    /// Its owner's calls.
    pub(crate) api: Api,
    /// The project.
    pub(crate) project: NewProject,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts a server and makes a project.
    pub(crate) async fn open(server: &ServerOptions) -> anyhow::Result<Self> {
        let folder = data_folder()?;
        let process = Process::server(server, folder.path()).await?;
        let api = Api::new(process.base())?;
        let project = api.create_project().await?;
        let api = api.with_token(&project.token);
        Ok(Self { process, api, project, _folder: folder })
    }

    /// Starts a turn in a document; returns its id.
    pub(crate) async fn start(&self, document: &str, prompt: &str) -> anyhow::Result<String> {
        self.api.start_turn(&self.project.id, document, prompt).await
    }

    /// Waits until a turn is over, and returns it. Fails unless it ended as expected.
    pub(crate) async fn over(&self, turn: &str, expected: &str) -> anyhow::Result<Value> {
        let turn = self.api.turn_over(&self.project.id, turn, TURN_TIME).await?;
        let status = turn.get("status").and_then(Value::as_str).unwrap_or_default();
        ensure!(status == expected, "the turn is {status}, not {expected}: {turn}");
        Ok(turn)
    }

    /// A document's text.
    pub(crate) async fn text(&self, document: &str) -> anyhow::Result<String> {
        Ok(self.api.text(&self.project.id, document).await?.text)
    }

    /// Stops the server. Fails if it does not stop well.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

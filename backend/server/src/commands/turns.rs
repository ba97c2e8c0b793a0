//! Turns: starting, stopping, reviewing and looking at them.

use ensemble_agent::StartTurn;
use ensemble_protocol::id::{HunkId, TurnId};
use ensemble_protocol::rest;

use super::Commands;
use crate::access::{self, Access, Action};
use crate::error::ApiError;

impl Commands {
    /// Gives an agent a prompt.
    pub async fn start_turn(
        &self,
        access: &Access,
        request: rest::StartTurn,
    ) -> Result<rest::Turn, ApiError> {
        access.authorize(Action::Prompt)?;
        self.rates.check_turn(access.caller.member.id)?;
        let (this, access) = (self.clone(), access.clone());
        self.finish("turn.start", async move { this.start_now(access, request).await }).await
    }

    async fn start_now(&self, access: Access, request: rest::StartTurn) -> Result<rest::Turn, ApiError> {
        // The tree is what tells pages the agent's name, and the turn what it may see.
        self.open_tree(&access.project).await?;
        let project = access.project.id;
        let start = StartTurn {
            project,
            member: access.caller.member.id,
            prompt: request.prompt,
            agent: request.agent,
            document: request.document,
            selection: request.selection,
        };
        let turn = self.turns().start(start).await?;
        // Who was taken out while the turn was being recorded was not known to have one.
        let access = access::enter(&self.store, access.caller, project).await;
        if let Err(error) = access.and_then(|access| access.authorize(Action::Prompt)) {
            let _ = self.turns().interrupt(project, turn.id).await;
            return Err(error);
        }
        Ok(turn)
    }

    /// Stops a turn.
    pub async fn interrupt_turn(&self, access: &Access, turn: TurnId) -> Result<rest::Turn, ApiError> {
        access.authorize(Action::Prompt)?;
        Ok(self.turns().interrupt(access.project.id, turn).await?)
    }

    /// Takes a turn back, or some of its hunks.
    pub async fn reject_turn(
        &self,
        access: &Access,
        turn: TurnId,
        hunks: Option<Vec<HunkId>>,
    ) -> Result<rest::Turn, ApiError> {
        access.authorize(Action::Prompt)?;
        let (this, project, member) = (self.clone(), access.project.id, access.caller.member.id);
        self.finish("turn.reject", async move {
            Ok(this.turns().reject(project, turn, hunks.as_deref(), member).await?)
        })
        .await
    }

    /// Keeps what a turn did, or some of its hunks.
    pub async fn accept_turn(
        &self,
        access: &Access,
        turn: TurnId,
        hunks: Option<Vec<HunkId>>,
    ) -> Result<rest::Turn, ApiError> {
        access.authorize(Action::Prompt)?;
        let (this, project, member) = (self.clone(), access.project.id, access.caller.member.id);
        self.finish("turn.accept", async move {
            Ok(this.turns().accept(project, turn, hunks.as_deref(), member).await?)
        })
        .await
    }

    /// Takes back all turns of an agent.
    pub async fn reject_agent(
        &self,
        access: &Access,
        agent: String,
    ) -> Result<rest::ReviewedTurns, ApiError> {
        access.authorize(Action::Prompt)?;
        let (this, project, member) = (self.clone(), access.project.id, access.caller.member.id);
        self.finish("agent.reject", async move {
            let turns = this.turns().reject_all(project, &agent, member).await?;
            Ok(rest::ReviewedTurns { turns })
        })
        .await
    }

    /// Keeps what is open of all turns of an agent.
    pub async fn accept_agent(
        &self,
        access: &Access,
        agent: String,
    ) -> Result<rest::ReviewedTurns, ApiError> {
        access.authorize(Action::Prompt)?;
        let (this, project, member) = (self.clone(), access.project.id, access.caller.member.id);
        self.finish("agent.accept", async move {
            let turns = this.turns().accept_all(project, &agent, member).await?;
            Ok(rest::ReviewedTurns { turns })
        })
        .await
    }

    /// What a turn did, unit by unit.
    pub async fn turn_changes(&self, access: &Access, turn: TurnId) -> Result<rest::TurnChanges, ApiError> {
        access.authorize(Action::Read)?;
        Ok(self.turns().changes(access.project.id, turn).await?)
    }

    /// A turn.
    pub async fn show_turn(&self, access: &Access, turn: TurnId) -> Result<rest::Turn, ApiError> {
        access.authorize(Action::Read)?;
        Ok(self.turns().get(access.project.id, turn).await?)
    }

    /// Turns of the project, newest first; with `before`, only those older than that one.
    pub async fn list_turns(
        &self,
        access: &Access,
        limit: u32,
        before: Option<TurnId>,
    ) -> Result<Vec<rest::Turn>, ApiError> {
        access.authorize(Action::Read)?;
        Ok(self.turns().list(access.project.id, limit, before).await?)
    }
}

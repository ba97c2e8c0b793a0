//! Documents as agents make, move and delete them: by the same commands as people.

use std::sync::Weak;

use async_trait::async_trait;
use ensemble_agent::{Documents, DocumentsError};
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, MemberId, ProjectId};
use ensemble_protocol::rest;
use ensemble_store::Project;

use super::{Commands, Inner};
use crate::error::ApiError;

/// The commands, held weakly: they hold the supervisor, which holds this.
pub(super) struct AgentDocuments(pub(super) Weak<Inner>);

impl AgentDocuments {
    async fn project(&self, id: ProjectId) -> Result<(Commands, Project), ApiError> {
        let inner = self.0.upgrade().ok_or_else(|| ApiError::busy("the server is stopping"))?;
        let commands = Commands { inner };
        let missing = || ApiError::new(ErrorCode::ProjectNotFound, "there is no such project");
        let project = commands.store.project(id).await?.ok_or_else(missing)?;
        Ok((commands, project))
    }
}

impl From<ApiError> for DocumentsError {
    fn from(error: ApiError) -> Self {
        if error.code == ErrorCode::Internal {
            error.log("turn");
        }
        Self { code: error.code, detail: error.detail.into_owned() }
    }
}

#[async_trait]
impl Documents for AgentDocuments {
    async fn create(
        &self,
        project: ProjectId,
        member: MemberId,
        path: &str,
    ) -> Result<DocumentId, DocumentsError> {
        let (commands, project) = self.project(project).await?;
        let request = rest::CreateDocument { path: path.into(), text: None };
        Ok(commands.make_document(project, member, request).await?.id)
    }

    async fn rename(
        &self,
        project: ProjectId,
        _member: MemberId,
        document: DocumentId,
        path: &str,
    ) -> Result<(), DocumentsError> {
        let (commands, project) = self.project(project).await?;
        commands.move_document(project, document, path.to_owned()).await?;
        Ok(())
    }

    async fn restore(
        &self,
        project: ProjectId,
        _member: MemberId,
        document: DocumentId,
    ) -> Result<(), DocumentsError> {
        let (commands, project) = self.project(project).await?;
        Ok(commands.restore_document(project, document).await?)
    }

    async fn delete(
        &self,
        project: ProjectId,
        _member: MemberId,
        document: DocumentId,
    ) -> Result<(), DocumentsError> {
        let (commands, project) = self.project(project).await?;
        Ok(commands.remove_document(project, document).await?)
    }
}

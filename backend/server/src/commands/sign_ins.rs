//! Ending what people are signed in with.

use ensemble_protocol::id::{SessionId, TokenId};

use super::Commands;
use crate::auth::Caller;
use crate::error::ApiError;

impl Commands {
    /// Signs a browser of the caller out: its cookie is no good any more, and its sockets close.
    pub async fn end_session(&self, caller: Caller, id: SessionId) -> Result<(), ApiError> {
        let auth = self.auth.clone();
        self.finish("session.end", async move { auth.end_session(&caller, id).await }).await
    }

    /// Makes a token of the caller useless, and closes its sockets.
    pub async fn end_token(&self, caller: Caller, id: TokenId) -> Result<(), ApiError> {
        let auth = self.auth.clone();
        self.finish("token.end", async move { auth.end_token(&caller, id).await }).await
    }
}

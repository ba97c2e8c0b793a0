//! JSON-RPC 2.0 inside Hocuspocus Stateless messages addressed to a project.
//!
//! Methods are noun and verb, declared once here; what they do is shared with HTTP in the server's commands.
//! Specification: <https://www.jsonrpc.org/specification>. Batches are not used.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Problem;
use crate::id::{DocumentId, HunkId, TurnId};
use crate::rest;

/// The code of every failure of ours; what it was is in `data`.
pub const SERVER_ERROR: i32 = -32000;
/// The text is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON is not a request.
pub const INVALID_REQUEST: i32 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters do not fit the method.
pub const INVALID_PARAMS: i32 = -32602;

/// A request, with its parameters still unread.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Request {
    /// Always `2.0`.
    pub jsonrpc: String,
    /// Names the answer; none for a notification.
    #[serde(default)]
    pub id: Option<Value>,
    /// Noun and verb.
    pub method: String,
    /// By name.
    #[serde(default)]
    pub params: Value,
}

/// A method with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `turn.start`
    TurnStart(rest::StartTurn),
    /// `turn.interrupt`
    TurnInterrupt(TurnParams),
    /// `turn.accept`
    TurnAccept(ReviewParams),
    /// `turn.reject`
    TurnReject(ReviewParams),
    /// `agent.accept`
    AgentAccept(AgentParams),
    /// `agent.reject`
    AgentReject(AgentParams),
    /// `document.create`
    DocumentCreate(rest::CreateDocument),
    /// `document.rename`
    DocumentRename(RenameParams),
    /// `document.delete`
    DocumentDelete(DocumentParams),
}

/// Names a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct TurnParams {
    /// The turn.
    pub turn: TurnId,
}

/// Names a turn and some of its hunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct ReviewParams {
    /// The turn.
    pub turn: TurnId,
    /// Which hunks; the whole turn when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hunks: Option<Vec<HunkId>>,
}

/// Names an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct AgentParams {
    /// Its id in the project.
    pub agent: String,
}

/// Names a document and its new path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct RenameParams {
    /// The document.
    pub document: DocumentId,
    /// Its new place.
    pub path: String,
}

/// Names a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct DocumentParams {
    /// The document.
    pub document: DocumentId,
}

/// Why a request could not be read as a call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such method.
    #[error("there is no method `{0}`")]
    UnknownMethod(String),
    /// The parameters do not fit.
    #[error("the parameters do not fit: {0}")]
    InvalidParams(#[from] serde_json::Error),
}

impl Request {
    /// Reads method and parameters.
    pub fn call(self) -> Result<Call, CallError> {
        let params = self.params;
        Ok(match self.method.as_str() {
            "turn.start" => Call::TurnStart(serde_json::from_value(params)?),
            "turn.interrupt" => Call::TurnInterrupt(serde_json::from_value(params)?),
            "turn.accept" => Call::TurnAccept(serde_json::from_value(params)?),
            "turn.reject" => Call::TurnReject(serde_json::from_value(params)?),
            "agent.accept" => Call::AgentAccept(serde_json::from_value(params)?),
            "agent.reject" => Call::AgentReject(serde_json::from_value(params)?),
            "document.create" => Call::DocumentCreate(serde_json::from_value(params)?),
            "document.rename" => Call::DocumentRename(serde_json::from_value(params)?),
            "document.delete" => Call::DocumentDelete(serde_json::from_value(params)?),
            _ => return Err(CallError::UnknownMethod(self.method)),
        })
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response {
    /// Always `2.0`.
    pub jsonrpc: &'static str,
    /// The request's.
    pub id: Value,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Result(Value),
    /// It was not.
    Error(RpcError),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RpcError {
    /// One of the codes above.
    pub code: i32,
    /// For a person.
    pub message: String,
    /// The same as over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Problem>,
}

impl Response {
    /// An answer to this request.
    pub const fn new(id: Value, outcome: Outcome) -> Self {
        Self { jsonrpc: "2.0", id, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Call, CallError> {
        serde_json::from_str::<Request>(text).unwrap().call()
    }

    #[test]
    fn a_call_is_read_by_its_method() {
        let call =
            read(r#"{"jsonrpc":"2.0","id":1,"method":"document.create","params":{"path":"a.py"}}"#).unwrap();
        assert_eq!(call, Call::DocumentCreate(rest::CreateDocument { path: "a.py".into(), text: None }));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":1,"method":"x.y"}"#),
            Err(CallError::UnknownMethod(_))
        ));
        let wrong = read(r#"{"jsonrpc":"2.0","id":1,"method":"document.create","params":{"paht":"a.py"}}"#);
        assert!(matches!(wrong, Err(CallError::InvalidParams(_))));
    }

    #[test]
    fn an_answer_has_the_shape_of_the_specification() {
        let answer = Response::new(1.into(), Outcome::Result(serde_json::json!({})));
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    }
}

//! JSON-RPC: the same commands, called over a socket.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;
use ensemble_protocol::rest;
use ensemble_protocol::rpc::{
    self, Call, CallError, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Outcome, PARSE_ERROR, Request,
    Response, RpcError, SERVER_ERROR,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::Commands;
use crate::access::Access;
use crate::error::ApiError;

/// Answers one request; nothing where it is a notification.
pub async fn answer(commands: &Commands, access: &Access, text: &str, request_id: &str) -> Option<String> {
    let (id, outcome) = match read(text) {
        Ok((id, call)) => (id, execute(commands, access, call).await.map_err(Failure::command)),
        Err((id, failure)) => (id, Err(failure)),
    };
    let outcome = match outcome {
        Ok(result) => Outcome::Result(result),
        Err(failure) => Outcome::Error(failure.into_error(request_id)),
    };
    // A notification has no id and gets no answer, unless it could not even be read as one.
    let id = id?;
    Some(serde_json::to_string(&Response::new(id, outcome)).expect("an answer is JSON"))
}

/// Refuses a request that came to an address that takes none, or too many at once.
pub fn refuse(text: &str, error: ApiError, request_id: &str) -> Option<String> {
    let id = serde_json::from_str::<Request>(text).ok()?.id?;
    let error = Failure::command(error).into_error(request_id);
    Some(serde_json::to_string(&Response::new(id, Outcome::Error(error))).expect("an answer is JSON"))
}

struct Failure {
    code: i32,
    error: ApiError,
}

impl Failure {
    fn command(error: ApiError) -> Self {
        Self { code: SERVER_ERROR, error }
    }

    fn request(code: i32, why: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { code, error: ApiError::new(ErrorCode::BadRequest, why) }
    }

    fn into_error(self, request_id: &str) -> RpcError {
        self.error.log(request_id);
        let problem = self.error.problem(request_id);
        RpcError { code: self.code, message: problem.detail.clone(), data: Some(problem) }
    }
}

fn read(text: &str) -> Result<(Option<Value>, Call), (Option<Value>, Failure)> {
    if text.len() > limits::RPC_BYTES {
        let error = ApiError::new(ErrorCode::TooLarge, "the request is larger than this server takes");
        return Err((Some(Value::Null), Failure::command(error)));
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|_| (Some(Value::Null), Failure::request(PARSE_ERROR, "the request is not JSON")))?;
    let id = value.get("id").cloned();
    let invalid = |why: &str| Failure::request(INVALID_REQUEST, why.to_owned());
    let request: Request = serde_json::from_value(value)
        .map_err(|_| (id.clone().or(Some(Value::Null)), invalid("this is not a JSON-RPC request")))?;
    if request.jsonrpc != "2.0" {
        return Err((id.or(Some(Value::Null)), invalid("`jsonrpc` has to be `2.0`")));
    }
    match request.call() {
        Ok(call) => Ok((id, call)),
        Err(error @ CallError::UnknownMethod(_)) => {
            Err((id, Failure::request(METHOD_NOT_FOUND, error.to_string())))
        }
        Err(error @ CallError::InvalidParams(_)) => {
            Err((id, Failure::request(INVALID_PARAMS, error.to_string())))
        }
    }
}

async fn execute(commands: &Commands, access: &Access, call: Call) -> Result<Value, ApiError> {
    let turn = |turn| to_value(&rest::TurnAnswer { turn });
    match call {
        Call::TurnStart(request) => commands.start_turn(access, request).await.map(turn),
        Call::TurnInterrupt(rpc::TurnParams { turn: id }) => {
            commands.interrupt_turn(access, id).await.map(turn)
        }
        Call::TurnAccept(params) => commands.accept_turn(access, params.turn, params.hunks).await.map(turn),
        Call::TurnReject(params) => commands.reject_turn(access, params.turn, params.hunks).await.map(turn),
        Call::AgentAccept(params) => {
            commands.accept_agent(access, params.agent).await.map(|reviewed| to_value(&reviewed))
        }
        Call::AgentReject(params) => {
            commands.reject_agent(access, params.agent).await.map(|reviewed| to_value(&reviewed))
        }
        Call::DocumentCreate(request) => {
            commands.create_document(access, request).await.map(|made| to_value(&made))
        }
        Call::DocumentRename(params) => {
            let request = rest::RenameDocument { path: params.path };
            commands.rename_document(access, params.document, request).await.map(|renamed| to_value(&renamed))
        }
        Call::DocumentDelete(params) => {
            commands.delete_document(access, params.document).await.map(|()| json!({}))
        }
    }
}

fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("bodies are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> (Option<Value>, i32) {
        let (id, failure) = read(text).map(|_| ()).unwrap_err();
        (id, failure.code)
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_the_rules_of_json_rpc() {
        for (text, id, expected) in [
            ("{", Some(Value::Null), PARSE_ERROR),
            ("[]", Some(Value::Null), INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":7,"method":"turn.start"}"#, Some(json!(7)), INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":"a","method":"no.such"}"#, Some(json!("a")), METHOD_NOT_FOUND),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"turn.start","params":{"prmpt":"x"}}"#,
                Some(json!(1)),
                INVALID_PARAMS,
            ),
        ] {
            assert_eq!(code(text), (id, expected), "{text}");
        }
        assert_eq!(code(&" ".repeat(limits::RPC_BYTES + 1)).1, SERVER_ERROR);
    }
}

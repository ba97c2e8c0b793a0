//! Extractors: they do the refusing, so that a handler's body starts where the work starts.

use std::marker::PhantomData;
use std::ops::Deref;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::id::{DocumentId, InviteId, MemberId, SessionId, TokenId, TurnId};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::access::{self, Access, Action};
use crate::auth::{Caller, not_signed_in};
use crate::error::ApiError;
use crate::rates::{Address, Kinds, Requests};
use crate::state::AppState;

/// Whoever is calling, signed in or not.
#[derive(Debug, Clone)]
pub(crate) struct MaybeCaller(pub Option<Caller>);

impl FromRequestParts<AppState> for MaybeCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = state.auth.caller(&parts.headers, state.site.cookie_name()).await?;
        if let Some(caller) = &caller {
            state.rates.check_person(caller.member.id)?;
        }
        Ok(Self(caller))
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let MaybeCaller(caller) = MaybeCaller::from_request_parts(parts, state).await?;
        caller.ok_or_else(|| not_signed_in("sign in first: join by a link, or send a bearer token"))
    }
}

/// A kind of request with rates of its own.
pub(crate) trait Kind: Send + Sync {
    /// Its rates.
    fn rates(kinds: &Kinds) -> &Requests;
}

/// Joining by a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joining;

impl Kind for Joining {
    fn rates(kinds: &Kinds) -> &Requests {
        &kinds.joins
    }
}

/// Making a project.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MakingProject;

impl Kind for MakingProject {
    fn rates(kinds: &Kinds) -> &Requests {
        &kinds.projects
    }
}

/// Whoever is calling, signed in or not, within the rates of this kind of request: counted before the body is read.
#[derive(Debug, Clone)]
pub(crate) struct Counted<K> {
    /// Who.
    pub(crate) caller: Option<Caller>,
    kind: PhantomData<K>,
}

impl<K: Kind> FromRequestParts<AppState> for Counted<K> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let address = Address::from_request_parts(parts, state).await?;
        let MaybeCaller(caller) = MaybeCaller::from_request_parts(parts, state).await?;
        K::rates(&state.rates.kinds).check(address, caller.as_ref().map(|caller| caller.member.id))?;
        Ok(Self { caller, kind: PhantomData })
    }
}

/// What a handler needs to be allowed.
pub(crate) trait Need: Send + Sync {
    /// The action.
    const ACTION: Action;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident = $action:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;
        impl Need for $name {
            const ACTION: Action = $action;
        }
    )*};
}

needs! {
    /// Reads the project.
    Read = Action::Read;
    /// Changes documents and the tree.
    Edit = Action::Edit;
    /// Works with turns.
    Prompt = Action::Prompt;
    /// Sees invite links.
    ListInvites = Action::ListInvites;
    /// Makes and revokes invite links.
    ManageInvites = Action::ManageInvites;
    /// Changes what others may do.
    ManageMembers = Action::ManageMembers;
}

/// A caller in the project of the path who may do what `N` says.
#[derive(Debug, Clone)]
pub(crate) struct ProjectAccess<N> {
    access: Access,
    need: PhantomData<N>,
}

impl<N> Deref for ProjectAccess<N> {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl<N: Need> FromRequestParts<AppState> for ProjectAccess<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(ApiError::internal)?;
        let project = params
            .iter()
            .find(|(name, _)| *name == "project")
            .and_then(|(_, text)| text.parse().ok())
            .ok_or_else(access::not_in_project)?;
        let access = access::enter(&state.store, caller, project).await?;
        access.authorize(N::ACTION)?;
        Ok(Self { access, need: PhantomData })
    }
}

/// Something named in the path below the project.
pub(crate) trait Named: Sized {
    /// Its name in the route.
    const PARAMETER: &'static str;
    /// What is answered where the path names nothing.
    const MISSING: ErrorCode;
    /// Reads it.
    fn read(text: &str) -> Option<Self>;
}

macro_rules! named {
    ($($type:ident $parameter:literal $missing:ident;)*) => {$(
        impl Named for $type {
            const PARAMETER: &'static str = $parameter;
            const MISSING: ErrorCode = ErrorCode::$missing;
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

named! {
    DocumentId "document" DocumentNotFound;
    TurnId "turn" TurnNotFound;
    InviteId "invite" InviteNotFound;
    MemberId "member" NotFound;
    SessionId "session" NotFound;
    TokenId "token" NotFound;
}

/// The id of an agent: whatever text, since agents are named by whoever sets them up.
#[derive(Debug, Clone)]
pub(crate) struct AgentId(pub String);

impl Named for AgentId {
    const PARAMETER: &'static str = "agent";
    const MISSING: ErrorCode = ErrorCode::AgentNotFound;
    fn read(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

/// An id from the path; text that is no id names nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PathId<T>(pub T);

impl<T: Named, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(ApiError::internal)?;
        params
            .iter()
            .find(|(name, _)| *name == T::PARAMETER)
            .and_then(|(_, text)| T::read(text))
            .map(Self)
            .ok_or_else(|| ApiError::new(T::MISSING, format!("there is no such {}", T::PARAMETER)))
    }
}

/// A JSON body with no field that is not known.
#[derive(Debug, Clone)]
pub(crate) struct ValidJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ValidJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refuse_json(&rejection)),
        }
    }
}

/// As [`ValidJson`], for requests whose body may be left out: then it is the default.
#[derive(Debug, Clone)]
pub(crate) struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequest<S> for OptionalJson<T>
where
    T: FromEmpty,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if request.headers().contains_key(http::header::CONTENT_TYPE) {
            let ValidJson(body) = ValidJson::from_request(request, state).await?;
            return Ok(Self(body));
        }
        Ok(Self(T::from_empty()))
    }
}

/// What a left-out body means.
pub(crate) trait FromEmpty {
    /// That.
    fn from_empty() -> Self;
}

impl FromEmpty for ensemble_protocol::rest::ReviewTurn {
    fn from_empty() -> Self {
        Self { hunks: None }
    }
}

fn refuse_json(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => {
            // The message of serde names the field and the place, never the body.
            ApiError::new(ErrorCode::BadRequest, rejection.body_text())
        }
        JsonRejection::MissingJsonContentType(_) => ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "the body has to be JSON, with `Content-Type: application/json`",
        ),
        other if other.status() == http::StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => ApiError::new(ErrorCode::BadRequest, "the body could not be read"),
    }
}

/// The refusal of a body over the limit.
pub(crate) fn too_large() -> ApiError {
    ApiError::new(ErrorCode::TooLarge, "the body is larger than this server takes")
}

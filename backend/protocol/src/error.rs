//! What goes wrong, as told to clients: error codes, problem details, close codes.

use serde::{Deserialize, Serialize};

use crate::id::{DocumentId, HunkId, Version};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The stable code of a failure; clients decide from it and never from text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[cfg_attr(test, derive(ts_rs::TS))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it travels.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// The request makes no sense as it stands; the detail says what is wrong with it.
    BadRequest = "bad_request";
    /// Sign in first: there is no valid token, ticket or cookie.
    NotSignedIn = "not_signed_in";
    /// The ticket is unknown, used up or older than it may be; fetch a new one.
    BadTicket = "bad_ticket";
    /// Signed in, but not allowed to do this here.
    NoAccess = "no_access";
    /// This is open for reading only.
    ReadOnly = "read_only";
    /// The request comes from a page of another site.
    ForeignOrigin = "foreign_origin";
    /// This server lets only invited people make projects.
    ProjectsClosed = "projects_closed";
    /// There is nothing at this address.
    NotFound = "not_found";
    /// There is no such project, or none the caller may know of.
    ProjectNotFound = "project_not_found";
    /// There is no such document in this project.
    DocumentNotFound = "document_not_found";
    /// There is no such turn in this project.
    TurnNotFound = "turn_not_found";
    /// There is no such agent in this project.
    AgentNotFound = "agent_not_found";
    /// There is no such invite link in this project.
    InviteNotFound = "invite_not_found";
    /// The link is unknown, expired, used up or revoked.
    InviteInvalid = "invite_invalid";
    /// Another document has this path.
    PathTaken = "path_taken";
    /// A path is relative, has no `..` and only ordinary characters.
    PathInvalid = "path_invalid";
    /// The turn has ended.
    TurnNotRunning = "turn_not_running";
    /// The turn is still at work; stop it first.
    TurnRunning = "turn_running";
    /// The version is unknown or no longer kept.
    VersionUnknown = "version_unknown";
    /// An edit fits nowhere in the text; nothing was changed.
    EditNotFound = "edit_not_found";
    /// An edit fits in several places, or where another one does; nothing was changed.
    EditAmbiguous = "edit_ambiguous";
    /// The protocol has it, this server does not do it yet.
    NotSupported = "not_supported";
    /// More than a limit allows.
    TooLarge = "too_large";
    /// Too often; try again later.
    RateLimited = "rate_limited";
    /// Too much is going on; try again later.
    Busy = "busy";
    /// An update that no Yjs client makes.
    MalformedUpdate = "malformed_update";
    /// A frame that is not of the protocol.
    MalformedFrame = "malformed_frame";
    /// The method does not exist at this address.
    MethodNotAllowed = "method_not_allowed";
    /// The body must be JSON.
    UnsupportedMediaType = "unsupported_media_type";
    /// Our fault; the log has the request id.
    Internal = "internal";
}

/// The body of a failed request, RFC 9457 problem details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Problem {
    /// Always `about:blank`: the code says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, for a person.
    pub detail: String,
    /// What is wrong, for a program.
    pub code: ErrorCode,
    /// Names the line in the server's log.
    pub request_id: String,
    /// The edits that have no place, where edits were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub edits: Option<Vec<FailedEdit>>,
    /// The version the document is at, where another one is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub version: Option<Version>,
}

/// An edit that has no place, and near what it would have one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct FailedEdit {
    /// Its number in the request, from 1.
    pub hunk: HunkId,
    /// The path it names.
    pub path: String,
    /// The document there.
    pub document: Option<DocumentId>,
    /// What is wrong with it, for a program.
    pub code: ErrorCode,
    /// What is wrong with it, for a person or a model.
    pub detail: String,
    /// The lines concerned, from 1: all places it could mean, or where it stops to agree.
    pub lines: Vec<u32>,
    /// The place that agrees best, when none agrees.
    pub nearest: Option<NearestText>,
}

/// The place in a text that agrees best with an edit that was not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct NearestText {
    /// Where it would start, from 1.
    pub line: u32,
    /// The first line that differs, from 1.
    pub first_difference: u32,
    /// What the edit expects on that line.
    pub expected: String,
    /// What stands there; none behind the last line.
    pub found: Option<String>,
}

/// Close codes of a whole socket. 44xx is permanent, act first; 45xx and the standard ones are transient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The server is going away; reconnect.
    GoingAway = 1001,
    /// The peer fell behind; reconnect.
    FellBehind = 1013,
    /// A frame that is not of the protocol.
    BadFrame = 4400,
    /// No valid token.
    NotSignedIn = 4401,
    /// Not allowed here.
    NoAccess = 4403,
    /// No such document.
    NotFound = 4404,
    /// A message over the limit.
    TooLarge = 4413,
    /// Our fault; reconnect.
    Internal = 4500,
    /// Nothing came for too long; reconnect.
    Silent = 4508,
    /// Too much at once; reconnect later.
    TooMany = 4529,
}

impl CloseCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// A short reason for people who read protocol traces.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::GoingAway => "the server is restarting",
            Self::FellBehind => "fell behind",
            Self::BadFrame => "malformed frame",
            Self::NotSignedIn => "not signed in",
            Self::NoAccess => "no access",
            Self::NotFound => "no such document",
            Self::TooLarge => "message too big",
            Self::Internal => "internal error",
            Self::Silent => "silent for too long",
            Self::TooMany => "too many",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_travel_as_they_are_named() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}

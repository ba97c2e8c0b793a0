//! Typed ids.
//!
//! Every id is a UUIDv7: unique without coordination and ordered by creation time.
//! On the wire, in links and in frame addresses it is written as 22 characters of URL-safe base64,
//! so that the address in front of every frame stays short.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Characters in the written form of an id.
pub const ID_LENGTH: usize = 22;

/// Text that is not a written id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is {ID_LENGTH} characters of URL-safe base64")]
pub struct InvalidId;

/// Writes a UUID the way ids travel.
pub fn encode_uuid(uuid: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(uuid.as_bytes())
}

/// Reads a UUID the way ids travel.
pub fn decode_uuid(text: &str) -> Result<Uuid, InvalidId> {
    if text.len() != ID_LENGTH {
        return Err(InvalidId);
    }
    let mut bytes = [0_u8; 16];
    let written = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| InvalidId)?;
    if written == bytes.len() { Ok(Uuid::from_bytes(bytes)) } else { Err(InvalidId) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[cfg_attr(test, derive(ts_rs::TS), ts(as = "String"))]
        #[schema(value_type = String)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID behind the id.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The sixteen bytes the id is stored as.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id stored as these bytes; `None` when they are not sixteen.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode_uuid(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), encode_uuid(self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                decode_uuid(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A project: a set of documents people open together.
    ProjectId;
    /// A person, durable: one per account or guest cookie, across projects.
    MemberId;
    /// A document. Never reused, also not after deletion.
    DocumentId;
    /// One connection at one address: a person's tab in one room, or an agent there.
    PeerId;
    /// One prompt given to an agent and everything it did.
    TurnId;
    /// An invite link.
    InviteId;
    /// A sign-in of a browser.
    SessionId;
    /// A bearer token.
    TokenId;
    /// One run of one server process.
    NodeId;
}

/// A hunk, counted from 1 within its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS), ts(as = "String"))]
#[schema(value_type = String)]
pub struct HunkId(pub u32);

impl fmt::Display for HunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HunkId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for HunkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HunkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a person may do in a project. Each role includes the ones below it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads documents and sees who is there.
    Viewer,
    /// Also edits documents, changes the tree and gives prompts.
    Editor,
    /// Also manages members, links and settings.
    Owner,
}

impl Role {
    /// The word the role has everywhere: on the wire, in SQL and on the page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Owner => "owner",
        }
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "editor" => Ok(Self::Editor),
            "owner" => Ok(Self::Owner),
            _ => Err(InvalidRole),
        }
    }
}

/// Text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role is `owner`, `editor` or `viewer`")]
pub struct InvalidRole;

/// One state of one document's log: its epoch and the number of the last update in it.
///
/// Opaque to clients, who only compare it for equality and send it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(ts_rs::TS), ts(as = "String"))]
pub struct Version {
    /// Raised when histories truly conflict and a document starts afresh.
    pub epoch: u32,
    /// Number of the last update, from 1, without gaps; 0 before the first.
    pub seq: u64,
}

impl utoipa::PartialSchema for Version {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <String as utoipa::PartialSchema>::schema()
    }
}

impl utoipa::ToSchema for Version {}

/// Text that is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a version this server gave out")]
pub struct InvalidVersion;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let (epoch, seq) = text.split_once('.').ok_or(InvalidVersion)?;
        let epoch = epoch.parse().map_err(|_| InvalidVersion)?;
        let seq = seq.parse().map_err(|_| InvalidVersion)?;
        Ok(Self { epoch, seq })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_22_characters_and_read_back() {
        let id = DocumentId::from_uuid(Uuid::from_u128(0x0193_4f5a_0000_7000_8000_0000_0000_00ff));
        let text = id.to_string();
        assert_eq!(text.len(), ID_LENGTH);
        assert_eq!(text.parse::<DocumentId>(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in
            ["", "a", "0193", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA/A", "AAAAAAAAAAAAAAAAAAAAA\0"]
        {
            assert_eq!(text.parse::<DocumentId>(), Err(InvalidId), "{text:?}");
        }
    }

    #[test]
    fn versions_are_read_back_and_others_refused() {
        let version = Version { epoch: 1, seq: 42 };
        assert_eq!(version.to_string(), "1.42");
        assert_eq!("1.42".parse(), Ok(version));
        for text in ["", "1", "1.", ".1", "1.x", "-1.2"] {
            assert_eq!(text.parse::<Version>(), Err(InvalidVersion), "{text:?}");
        }
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Owner > Role::Editor && Role::Editor > Role::Viewer);
    }
}

//! Bodies of the HTTP API, shared by JSON-RPC where a method does the same.
//!
//! Keys are `snake_case`, times RFC 3339 in UTC, ids strings. Requests with unknown fields are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::id::{
    DocumentId, HunkId, InviteId, MemberId, ProjectId, Role, SessionId, TokenId, TurnId, Version,
};

/// A moment, RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS), ts(as = "String"))]
#[schema(value_type = String, format = DateTime)]
#[serde(transparent)]
pub struct Timestamp(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

impl From<OffsetDateTime> for Timestamp {
    fn from(time: OffsetDateTime) -> Self {
        Self(time)
    }
}

macro_rules! bodies {
    (requests { $($(#[$rmeta:meta])* $rname:ident { $($(#[$rfmeta:meta])* $rfield:ident : $rtype:ty,)* })* }
     responses { $($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty,)* })* }) => {
        $($(#[$rmeta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
        #[cfg_attr(test, derive(ts_rs::TS))]
        #[serde(deny_unknown_fields)]
        pub struct $rname { $($(#[$rfmeta])* pub $rfield: $rtype,)* })*
        $($(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
        #[cfg_attr(test, derive(ts_rs::TS))]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* })*
    };
}

bodies! {
    requests {
        /// Makes a project, with the caller as its owner.
        CreateProject {
            /// What people call it.
            name: String,
            /// What it starts with: `empty` or `welcome`; `welcome` when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            template: Option<String>,
            /// The caller's name, where the caller has none yet.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            your_name: Option<String>,
        }
        /// Makes an invite link.
        CreateInvite {
            /// What the link makes people.
            role: Role,
            /// Seconds until it stops working; never when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[cfg_attr(test, ts(type = "number | null"))]
            expires_in: Option<u64>,
            /// How many people may use it; any number when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            max_uses: Option<u32>,
        }
        /// Joins by a link.
        Join {
            /// The part of the link after `#`.
            secret: String,
            /// The caller's name; kept from before when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            name: Option<String>,
        }
        /// Changes what somebody may do in a project.
        ChangeMember {
            /// From now on.
            role: Role,
        }
        /// Makes a document.
        CreateDocument {
            /// Where in the tree, relative, with `/` between folders.
            path: String,
            /// What it starts with; line ends become `\n`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            text: Option<String>,
        }
        /// Moves a document.
        RenameDocument {
            /// Its new place.
            path: String,
        }
        /// Gives an agent a prompt.
        StartTurn {
            /// What it should do.
            prompt: String,
            /// Which agent; the project's first when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            agent: Option<String>,
            /// The document the prompt is about.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            document: Option<DocumentId>,
            /// What is selected in it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            selection: Option<Selection>,
        }
        /// Replaces texts in a document.
        EditDocument {
            /// What is replaced by what, all of it or nothing.
            edits: Vec<TextReplacement>,
            /// The version the caller has read; the text of now when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            base_version: Option<String>,
        }
        /// A text to look for and what replaces it.
        TextReplacement {
            /// A text that stands in the document in one place.
            old_text: String,
            /// What is to stand there.
            new_text: String,
        }
        /// Applies a patch to documents.
        ApplyPatch {
            /// From `*** Begin Patch` to `*** End Patch`.
            patch: String,
            /// The versions the caller has read, by path; the texts of now where left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            base_versions: Option<BTreeMap<String, String>>,
            /// Whose rules apply; one place or none when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            compat: Option<Compat>,
        }
        /// Accepts or rejects a turn.
        ReviewTurn {
            /// Which hunks; the whole turn when left out.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            hunks: Option<Vec<HunkId>>,
        }
    }
    responses {
        /// A browser that is signed in.
        Session {
            /// Its id.
            id: SessionId,
            /// When it signed in.
            created_at: Timestamp,
            /// When it was last here, to the day.
            last_seen_at: Timestamp,
            /// When it is signed out, unless it comes back before.
            expires_at: Timestamp,
            /// Whether it is the one that asks.
            current: bool,
        }
        /// A bearer token of the caller, without its secret.
        Token {
            /// Its id.
            id: TokenId,
            /// What it is called.
            name: String,
            /// The only project it opens; all of the caller's where it is none.
            project: Option<ProjectId>,
            /// The most it may do, whatever the caller may.
            role: Role,
            /// When it was made.
            created_at: Timestamp,
            /// When it ends, if ever.
            expires_at: Option<Timestamp>,
            /// Whether it is the one that asks.
            current: bool,
        }
        /// A project as its members see it in lists.
        ProjectSummary {
            /// Its id.
            id: ProjectId,
            /// What people call it.
            name: String,
            /// The caller's role in it.
            role: Role,
            /// When it was made.
            created_at: Timestamp,
        }
        /// A project just made.
        CreatedProject {
            /// The project.
            project: ProjectSummary,
            /// A bearer token of its owner.
            token: String,
            /// A link that makes people editors.
            link: String,
        }
        /// A project, whole.
        Project {
            /// Its id.
            id: ProjectId,
            /// What people call it.
            name: String,
            /// The caller's role in it.
            role: Role,
            /// When it was made.
            created_at: Timestamp,
            /// The caller.
            you: Member,
            /// Everybody in it.
            members: Vec<Member>,
            /// Its agents.
            agents: Vec<Agent>,
        }
        /// A person in a project.
        Member {
            /// Their id.
            id: MemberId,
            /// What they call themselves.
            name: String,
            /// Their color, `#rrggbb`.
            color: String,
            /// What they may do.
            role: Role,
        }
        /// The caller, outside any project.
        Me {
            /// Their id.
            id: MemberId,
            /// What they call themselves.
            name: String,
            /// Their color, `#rrggbb`.
            color: String,
        }
        /// A model that takes part.
        Agent {
            /// Its id within the project.
            id: String,
            /// What it is called.
            name: String,
            /// Its color, `#rrggbb`.
            color: String,
            /// The model behind it.
            model: String,
            /// Whether that is the built-in rule-based demo model.
            demo: bool,
        }
        /// An invite link just made; its secret is shown only now.
        CreatedInvite {
            /// Its id.
            id: InviteId,
            /// The whole link.
            link: String,
            /// Its secret part.
            secret: String,
            /// What it makes people.
            role: Role,
            /// When it stops working.
            expires_at: Option<Timestamp>,
        }
        /// An invite link as its project's owners and editors see it.
        Invite {
            /// Its id.
            id: InviteId,
            /// What it makes people.
            role: Role,
            /// When it was made.
            created_at: Timestamp,
            /// When it stops working.
            expires_at: Option<Timestamp>,
            /// How many people may use it.
            max_uses: Option<u32>,
            /// How many have.
            uses: u32,
            /// How many others are in the project by it: who is taken out with `members=remove`.
            members: u32,
            /// Whether it was revoked.
            revoked: bool,
        }
        /// What joining gave.
        Joined {
            /// The project.
            project: ProjectSummary,
            /// The caller's role in it.
            role: Role,
            /// A bearer token of the caller.
            token: String,
        }
        /// A document in a list.
        Document {
            /// Its id.
            id: DocumentId,
            /// Where in the tree.
            path: String,
            /// What it is: `text`.
            kind: String,
            /// UTF-16 units of its text, where the server has it at hand.
            #[cfg_attr(test, ts(type = "number | null"))]
            size: Option<u64>,
            /// Its version.
            version: Version,
        }
        /// A document just made or moved.
        CreatedDocument {
            /// Its id.
            id: DocumentId,
            /// Where in the tree.
            path: String,
            /// Its version.
            version: Version,
        }
        /// A ticket for the socket.
        SocketTicket {
            /// The token to send in Auth.
            ticket: String,
            /// Until when it may be presented first.
            expires_at: Timestamp,
        }
        /// What a page wants to know before anybody signed in.
        Info {
            /// The server's version.
            version: String,
            /// Who may make projects.
            access: Access,
            /// The model that answers.
            model: ModelInfo,
            /// Whether the page is served safely: over TLS or on this machine.
            secure: bool,
        }
        /// The model that answers.
        ModelInfo {
            /// Its name.
            name: String,
            /// Who runs it.
            provider: String,
            /// Whether it is the built-in rule-based demo model.
            demo: bool,
        }
        /// What came of replacing texts.
        EditedDocument {
            /// The document's version after it.
            version: Version,
            /// What became of each edit.
            hunks: Vec<Hunk>,
            /// The turn that stands for them; none when nothing had to change.
            turn: Option<TurnId>,
        }
        /// What came of a patch.
        PatchedDocuments {
            /// Each document it is about, by path.
            documents: Vec<PatchedDocument>,
            /// The turn that stands for it; none when nothing had to change.
            turn: Option<TurnId>,
        }
        /// What a patch did to a document.
        PatchedDocument {
            /// The document; none where the path names none.
            id: Option<DocumentId>,
            /// Where it is now, or was.
            path: String,
            /// Its version after it; none when it is gone.
            version: Option<Version>,
            /// What became of each hunk.
            hunks: Vec<Hunk>,
        }
        /// One prompt and what came of it.
        Turn {
            /// Its id.
            id: TurnId,
            /// Where it stands.
            status: TurnStatus,
            /// Which agent.
            agent: String,
            /// What it is called, where it is none of the project's agents: a token's name.
            agent_name: Option<String>,
            /// What was asked.
            prompt: String,
            /// Who asked.
            by: MemberId,
            /// When.
            created_at: Timestamp,
            /// When it ended.
            finished_at: Option<Timestamp>,
            /// What the model said beside its edits.
            answer: String,
            /// The documents it may write in.
            documents: Vec<DocumentId>,
            /// What it changed, piece by piece.
            hunks: Vec<Hunk>,
            /// What it cost.
            usage: Option<Usage>,
            /// Why it failed.
            error: Option<TurnError>,
            /// What people decided.
            review: Review,
        }
        /// A turn in the answer to a command about it.
        TurnAnswer {
            /// The turn.
            turn: Turn,
        }
        /// Why a turn failed.
        TurnError {
            /// For a program.
            code: String,
            /// For a person.
            detail: String,
        }
        /// One located piece of a model's answer.
        Hunk {
            /// Its id within the turn.
            id: HunkId,
            /// The document it belongs to; none when its file does not exist.
            document: Option<DocumentId>,
            /// The path the model named.
            path: String,
            /// What became of it.
            state: HunkState,
            /// First line it touched, from 1, when it was applied.
            line: Option<u32>,
            /// UTF-16 units it inserted.
            inserted: u32,
            /// UTF-16 units it deleted.
            deleted: u32,
            /// Why it was missed.
            reason: Option<String>,
        }
        /// The turns that were accepted or rejected together.
        ReviewedTurns {
            /// Those of which something changed, newest first; none when there is nothing left to do.
            turns: Vec<TurnId>,
        }
        /// What a turn did, unit by unit.
        TurnChanges {
            /// The turn.
            turn: TurnId,
            /// The documents it changed.
            documents: Vec<DocumentChanges>,
        }
        /// What a turn did in one document.
        DocumentChanges {
            /// The document.
            document: DocumentId,
            /// Its path.
            path: String,
            /// Its hunks there, in order.
            hunks: Vec<HunkChanges>,
        }
        /// What one hunk did.
        HunkChanges {
            /// Its id within the turn.
            id: HunkId,
            /// What became of it.
            state: HunkState,
            /// What it inserted, visible or not; what a review put back of it stands here under its new ids.
            inserted: Vec<Units>,
            /// What it deleted.
            deleted: Vec<DeletedUnits>,
        }
        /// A range of ids of UTF-16 units, as in Yjs.
        #[derive(Copy, Eq)]
        Units {
            /// The Yjs client id.
            #[cfg_attr(test, ts(type = "number"))]
            client: u64,
            /// The first unit's clock.
            clock: u32,
            /// How many units.
            length: u32,
        }
        /// Units that were deleted. Their place is right behind the last of them, which is a deleted item.
        DeletedUnits {
            /// The Yjs client id.
            #[cfg_attr(test, ts(type = "number"))]
            client: u64,
            /// The first unit's clock.
            clock: u32,
            /// How many units.
            length: u32,
            /// What they said.
            text: String,
        }
        /// Who wrote every character of a document.
        Attribution {
            /// The version it is of.
            version: Version,
            /// The whole text, in order and without gaps.
            spans: Vec<AttributedSpan>,
            /// The turns the spans name.
            turns: BTreeMap<String, AttributedTurn>,
            /// The people the spans and the turns name.
            members: BTreeMap<String, AttributedMember>,
        }
        /// A stretch of text that one person wrote, or one hunk of a turn, under one client id.
        AttributedSpan {
            /// UTF-16 units before it.
            start: u32,
            /// UTF-16 units.
            length: u32,
            /// Whether a person or a turn wrote it.
            by: WrittenBy,
            /// The person; none for what was written before anybody can be told.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            member: Option<MemberId>,
            /// The turn.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            turn: Option<TurnId>,
            /// The hunk of the turn.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            hunk: Option<HunkId>,
            /// The Yjs client id its units have, all of them.
            #[cfg_attr(test, ts(type = "number"))]
            client: u64,
            /// Its first unit's clock.
            clock: u32,
        }
        /// A turn that wrote something.
        AttributedTurn {
            /// The agent's id.
            agent: String,
            /// What it was asked.
            prompt: String,
            /// Who asked.
            by: MemberId,
            /// When.
            created_at: Timestamp,
        }
        /// A person who wrote something, or asked for it.
        AttributedMember {
            /// Their name.
            name: String,
            /// Their color.
            color: String,
        }
        /// Tokens a turn used.
        #[derive(Default, Copy)]
        Usage {
            /// Tokens the model read.
            #[cfg_attr(test, ts(type = "number"))]
            input_tokens: u64,
            /// Of those, tokens it had read before.
            #[cfg_attr(test, ts(type = "number"))]
            cached_tokens: u64,
            /// Tokens it wrote.
            #[cfg_attr(test, ts(type = "number"))]
            output_tokens: u64,
        }
    }
}

/// A stretch of text: in UTF-16 units, or held fast by Yjs relative positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(untagged)]
pub enum Selection {
    /// By offset, in the version named or else in the text as it is on arrival.
    Offsets(OffsetSelection),
    /// By relative position.
    Anchors(AnchorSelection),
}

/// A selection by offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct OffsetSelection {
    /// UTF-16 units before it.
    pub start: u32,
    /// UTF-16 units before its end.
    pub end: u32,
    /// The version the offsets are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// A selection by Yjs relative positions, in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct AnchorSelection {
    /// The end that stays.
    #[cfg_attr(test, ts(type = "unknown"))]
    pub anchor: serde_json::Value,
    /// The end that moves.
    #[cfg_attr(test, ts(type = "unknown"))]
    pub head: serde_json::Value,
}

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[cfg_attr(test, derive(ts_rs::TS))]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// The word on the wire and in SQL.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Reads the word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

words! {
    /// Where a turn stands.
    TurnStatus {
        /// Waits for its agent.
        Queued = "queued",
        /// At work.
        Running = "running",
        /// Finished by itself.
        Done = "done",
        /// Stopped by somebody, or its server died; what was settled stays.
        Interrupted = "interrupted",
        /// Ended by an error; what was settled stays.
        Failed = "failed",
    }
    /// What became of a hunk.
    HunkState {
        /// In the document.
        Applied = "applied",
        /// In the document, and somebody said so.
        Accepted = "accepted",
        /// Taken back.
        Rejected = "rejected",
        /// Fits nowhere, or in more than one place.
        Missed = "missed",
        /// Began to be written and was taken back at once, since a later line contradicted it.
        Reverted = "reverted",
    }
    /// What people decided about a turn.
    Review {
        /// Nothing yet about at least one of its hunks.
        Open = "open",
        /// Keep it.
        Accepted = "accepted",
        /// Take it back.
        Rejected = "rejected",
        /// Keep some of its hunks and take the others back.
        Mixed = "mixed",
    }
    /// Who wrote a stretch of text.
    WrittenBy {
        /// A person.
        Person = "person",
        /// A turn of an agent.
        Turn = "turn",
    }
    /// Whose rules a patch is applied by.
    Compat {
        /// The Codex command line tool's: the first place that fits, file by file.
        Codex = "codex",
    }
    /// Who may make projects.
    Access {
        /// Anybody who reaches the server.
        Open = "open",
        /// People who were invited.
        Invite = "invite",
    }
}

impl TurnStatus {
    /// Whether nothing more will happen.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Interrupted | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused() {
        let refused = serde_json::from_str::<CreateDocument>(r#"{"path": "a.py", "txt": "x"}"#);
        assert!(refused.unwrap_err().to_string().contains("unknown field `txt`"));
    }

    #[test]
    fn a_selection_is_offsets_or_anchors() {
        let offsets: Selection = serde_json::from_str(r#"{"start": 1, "end": 4, "version": "1.2"}"#).unwrap();
        assert!(matches!(
            offsets,
            Selection::Offsets(OffsetSelection { start: 1, end: 4, version: Some(_) })
        ));
        let anchors: Selection =
            serde_json::from_str(r#"{"anchor": {"tname": "content"}, "head": {}}"#).unwrap();
        assert!(matches!(anchors, Selection::Anchors(_)));
        assert!(serde_json::from_str::<Selection>(r#"{"start": 1}"#).is_err());
    }
}

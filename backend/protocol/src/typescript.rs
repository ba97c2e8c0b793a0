//! The front end's types, generated from these: `make gen` writes them, a test compares them.

use std::fmt::Write as _;
use std::path::Path;

use ts_rs::{Config, TS};

use crate::{error, id, rest, rpc};

const HEADER: &str = "// Generated from backend/protocol by `make gen`. Edits are lost.\n\n";
/// Set to write the file in place of comparing it.
const BLESS: &str = "ENSEMBLE_BLESS";

fn typescript() -> String {
    let config = Config::default();
    let mut out = HEADER.to_owned();
    macro_rules! declare {
        ($($type:ty),* $(,)?) => {$(
            // TypeScript's `null` and a field that is left out are one to serde.
            writeln!(out, "export {}\n", <$type as TS>::decl(&config)).expect("a string takes everything");
        )*};
    }
    declare!(
        id::Role,
        error::ErrorCode,
        error::Problem,
        error::FailedEdit,
        error::NearestText,
        rest::TurnStatus,
        rest::HunkState,
        rest::Review,
        rest::Compat,
        rest::Access,
        rest::CreateProject,
        rest::CreateInvite,
        rest::Join,
        rest::CreateDocument,
        rest::RenameDocument,
        rest::OffsetSelection,
        rest::AnchorSelection,
        rest::Selection,
        rest::StartTurn,
        rest::EditDocument,
        rest::TextReplacement,
        rest::ApplyPatch,
        rest::ReviewTurn,
        rest::ProjectSummary,
        rest::CreatedProject,
        rest::Project,
        rest::Member,
        rest::Me,
        rest::Agent,
        rest::CreatedInvite,
        rest::Invite,
        rest::Joined,
        rest::Document,
        rest::CreatedDocument,
        rest::SocketTicket,
        rest::Info,
        rest::ModelInfo,
        rest::Usage,
        rest::TurnError,
        rest::Hunk,
        rest::EditedDocument,
        rest::PatchedDocuments,
        rest::PatchedDocument,
        rest::Turn,
        rest::TurnAnswer,
        rest::ReviewedTurns,
        rest::Units,
        rest::DeletedUnits,
        rest::HunkChanges,
        rest::DocumentChanges,
        rest::TurnChanges,
        rest::WrittenBy,
        rest::AttributedSpan,
        rest::AttributedTurn,
        rest::AttributedMember,
        rest::Attribution,
        rpc::TurnParams,
        rpc::ReviewParams,
        rpc::AgentParams,
        rpc::RenameParams,
        rpc::DocumentParams,
    );
    // Ids, versions and times are strings on the wire.
    let names =
        ["DocumentId", "HunkId", "InviteId", "MemberId", "ProjectId", "TurnId", "Version", "Timestamp"];
    let mut aliases = String::new();
    for name in names {
        writeln!(aliases, "export type {name} = string;").expect("a string takes everything");
    }
    out.replacen(HEADER, &format!("{HEADER}{aliases}\n"), 1)
}

#[test]
fn the_front_ends_types_are_these() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../frontend/src/core/protocol.gen.ts");
    let expected = typescript();
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "frontend/src/core/protocol.gen.ts is out of date: run `make gen`");
}

//! How a model is asked to hand in its changes, and how its answer is read.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ensemble_edit::{EditStream, Format, Mode, Utf16Offset};
use ensemble_model::{Capability, EditFormat, Tool};
use serde_json::json;

/// How a model that takes custom tools hands in its patch.
const PATCH_BY_TOOL: &str = include_str!("../prompts/patch_by_tool.md");
/// How a model hands in a patch without tools.
const PATCH_IN_TEXT: &str = include_str!("../prompts/patch_in_text.md");
/// How a model that takes functions hands in old and new texts.
const EDIT_BY_TOOL: &str = include_str!("../prompts/edit_by_tool.md");
/// How a model hands in old and new texts without tools.
const EDITS_IN_TEXT: &str = include_str!("../prompts/edits_in_text.md");
/// How a model hands in whole documents.
const FILES_IN_TEXT: &str = include_str!("../prompts/files_in_text.md");
/// How a model hands in the new text of what is selected.
const REGION_IN_TEXT: &str = include_str!("../prompts/region_in_text.md");
/// What the patch tool does.
const PATCH_DESCRIPTION: &str = include_str!("../prompts/apply_patch.md");
/// The grammar of its input.
const PATCH_GRAMMAR: &str = include_str!("../prompts/apply_patch.lark");
/// What the edit tool does.
const EDIT_DESCRIPTION: &str = include_str!("../prompts/edit.md");
/// The patch tool's name, which models of the Codex family know.
const PATCH_TOOL: &str = "apply_patch";
/// The edit tool's name.
const EDIT_TOOL: &str = "edit";

/// How a model is asked to hand in its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answering {
    /// One patch, as the input of a custom tool; one in the text is taken as well.
    PatchTool,
    /// One patch in the text.
    Patch,
    /// Old and new texts, as the arguments of a function, for each document one call.
    EditTool,
    /// Old and new texts in the text.
    Edits,
    /// Whole documents in the text.
    Files,
    /// The whole answer is the new text of a part of one document.
    Region {
        /// The document's path.
        path: String,
        /// The part, in the text the model is shown.
        range: Range<Utf16Offset>,
    },
}

impl Answering {
    /// What suits a model. `selected` are the selected lines of a document it may change; `is_whole` says whether
    /// every document it may change is shown whole, without which none can be written anew.
    pub(crate) fn of(
        capability: &Capability,
        selected: Option<(String, Range<Utf16Offset>)>,
        is_whole: bool,
    ) -> Self {
        match (capability.edits(), selected) {
            (EditFormat::PatchTool, _) => Self::PatchTool,
            (EditFormat::Patch, _) => Self::Patch,
            (EditFormat::EditTool, _) => Self::EditTool,
            (EditFormat::Whole, Some((path, range))) => Self::Region { path, range },
            (EditFormat::Whole, None) if is_whole => Self::Files,
            (EditFormat::SearchReplace | EditFormat::Whole, _) => Self::Edits,
        }
    }

    /// What the model is told about it.
    pub(super) const fn prompt(&self) -> &'static str {
        match self {
            Self::PatchTool => PATCH_BY_TOOL,
            Self::Patch => PATCH_IN_TEXT,
            Self::EditTool => EDIT_BY_TOOL,
            Self::Edits => EDITS_IN_TEXT,
            Self::Files => FILES_IN_TEXT,
            Self::Region { .. } => REGION_IN_TEXT,
        }
    }

    /// The tools it is offered.
    pub(super) fn tools(&self) -> Vec<Tool> {
        match self {
            Self::PatchTool => vec![Tool::Custom {
                name: PATCH_TOOL.into(),
                description: PATCH_DESCRIPTION.trim().into(),
                lark: Some(PATCH_GRAMMAR.into()),
            }],
            Self::EditTool => vec![Tool::Function {
                name: EDIT_TOOL.into(),
                description: EDIT_DESCRIPTION.trim().into(),
                parameters: edit_parameters(),
            }],
            Self::Patch | Self::Edits | Self::Files | Self::Region { .. } => Vec::new(),
        }
    }

    /// The tool whose input holds changes.
    pub(crate) const fn tool(&self) -> Option<&'static str> {
        match self {
            Self::PatchTool | Self::Patch => Some(PATCH_TOOL),
            Self::EditTool => Some(EDIT_TOOL),
            Self::Edits | Self::Files | Self::Region { .. } => None,
        }
    }

    /// Whether the text of the answer may hold changes.
    pub(crate) const fn is_in_text(&self) -> bool {
        !matches!(self, Self::EditTool)
    }

    /// Whether what was missed can be asked for again in the same way.
    pub(crate) const fn can_be_repeated(&self) -> bool {
        !matches!(self, Self::Region { .. })
    }

    /// What reads an answer. Places are looked for in these texts, by path.
    pub(crate) fn stream(&self, texts: HashMap<String, Arc<str>>) -> EditStream {
        let format = match self {
            Self::PatchTool | Self::Patch => Format::Patch(Mode::default()),
            Self::EditTool => Format::Tool,
            Self::Edits => Format::Blocks,
            Self::Files => Format::Files,
            Self::Region { path, range } => Format::Region { path: path.clone(), range: range.clone() },
        };
        EditStream::new(format, move |path| texts.get(path).cloned())
    }
}

fn edit_parameters() -> serde_json::Value {
    let text = |what: &str| json!({"type": "string", "description": what});
    json!({
        "type": "object",
        "properties": {
            "path": text("The path of the document."),
            "edits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "old_text": text("What stands there now, copied exactly."),
                        "new_text": text("What takes its place."),
                    },
                    "required": ["old_text", "new_text"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["path", "edits"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_asked_in_the_way_that_suits_it() {
        let whole = Capability { edit_format: EditFormat::Whole, ..Capability::UNKNOWN };
        let region = || Some(("a.py".to_owned(), Utf16Offset(2)..Utf16Offset(4)));
        let functions =
            Capability { edit_format: EditFormat::EditTool, functions: true, ..Capability::UNKNOWN };
        let spark = Capability::of("gpt-5.3-codex-spark");
        assert_eq!(Answering::of(&spark, region(), true), Answering::PatchTool);
        assert_eq!(Answering::of(&functions, region(), true), Answering::EditTool);
        assert_eq!(Answering::of(&Capability::UNKNOWN, region(), true), Answering::Edits);
        assert_eq!(Answering::of(&whole, None, true), Answering::Files);
        // What is not shown cannot be written anew.
        assert_eq!(Answering::of(&whole, None, false), Answering::Edits);
        assert!(matches!(Answering::of(&whole, region(), false), Answering::Region { .. }));
    }
}

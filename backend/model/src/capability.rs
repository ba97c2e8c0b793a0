//! What each known model can do.

/// The window assumed for a model nobody has described, in tokens.
const UNKNOWN_CONTEXT_TOKENS: u32 = 32_768;
/// The output assumed for a model nobody has described, in tokens.
const UNKNOWN_OUTPUT_TOKENS: u32 = 8_192;

/// What a model can do. What is unknown is assumed to be absent.
#[expect(clippy::struct_excessive_bools, reason = "a table of independent facts, each yes or no")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// How much it can read and write at once, in tokens.
    pub context_tokens: u32,
    /// The most it can write in one answer, in tokens.
    pub max_output_tokens: u32,
    /// It can be reached over a WebSocket.
    pub websocket: bool,
    /// A call can continue the previous one by its id.
    pub chain: bool,
    /// It takes custom tools with a Lark grammar. Without this, ask for the patch in the text.
    pub freeform_lark: bool,
    /// It takes function tools.
    pub functions: bool,
    /// It can be asked for summaries of its reasoning.
    pub reasoning_summary: bool,
    /// It takes `prompt_cache_key`.
    pub prompt_cache_key: bool,
    /// How it hands in changes of texts best; [`Capability::edits`] says how it can.
    pub edit_format: EditFormat,
}

/// How a model is asked to hand in changes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EditFormat {
    /// A patch, as the input of a custom tool.
    PatchTool,
    /// A patch in the text of the answer.
    Patch,
    /// Old and new texts, as JSON arguments of a function.
    EditTool,
    /// Old and new texts in the text of the answer.
    SearchReplace,
    /// Texts written anew as a whole: what is selected, or files. For models that manage nothing else.
    Whole,
}

impl EditFormat {
    /// All of them, with their names in configurations.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("patch_tool", Self::PatchTool),
        ("patch", Self::Patch),
        ("edit_tool", Self::EditTool),
        ("search_replace", Self::SearchReplace),
        ("whole", Self::Whole),
    ];

    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(other, _)| *other == name).map(|(_, format)| format)
    }
}

impl Capability {
    /// What is assumed of a model nobody has described.
    pub const UNKNOWN: Self = Self {
        context_tokens: UNKNOWN_CONTEXT_TOKENS,
        max_output_tokens: UNKNOWN_OUTPUT_TOKENS,
        websocket: false,
        chain: false,
        freeform_lark: false,
        functions: false,
        reasoning_summary: false,
        prompt_cache_key: false,
        edit_format: EditFormat::SearchReplace,
    };

    /// How the model hands in changes: as it does best, in its text where it is offered no such tool.
    pub const fn edits(&self) -> EditFormat {
        match self.edit_format {
            EditFormat::PatchTool if !self.freeform_lark => EditFormat::Patch,
            EditFormat::EditTool if !self.functions => EditFormat::SearchReplace,
            format => format,
        }
    }

    /// What the model of this name can do, by the longest prefix in the table.
    pub fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        TABLE
            .iter()
            .filter(|(prefix, _)| {
                name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(Self::UNKNOWN, |(_, capability)| capability.clone())
    }
}

/// A model of the current OpenAI family as it is served by OpenAI.
const OPENAI: Capability = Capability {
    context_tokens: 272_000,
    max_output_tokens: 128_000,
    websocket: true,
    chain: true,
    freeform_lark: true,
    functions: true,
    reasoning_summary: true,
    prompt_cache_key: true,
    edit_format: EditFormat::PatchTool,
};

/// Models by the beginning of their name. A prefix matches a whole name or one that goes on with a hyphen.
const TABLE: &[(&str, Capability)] = &[
    // Fast and text only; answers a request for reasoning summaries with an error.
    (
        "gpt-5.3-codex-spark",
        Capability { context_tokens: 128_000, max_output_tokens: 32_768, reasoning_summary: false, ..OPENAI },
    ),
    ("gpt-5.2", OPENAI),
    ("gpt-5.3-codex", OPENAI),
    ("gpt-5.4", OPENAI),
    ("gpt-5.5", OPENAI),
    ("gpt-5.6", OPENAI),
    (
        "demo",
        Capability { context_tokens: 128_000, max_output_tokens: 32_768, reasoning_summary: false, ..OPENAI },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let cases = [
            ("gpt-5.3-codex-spark", 128_000),
            ("gpt-5.3-codex-spark-2026-02-01", 128_000),
            ("openai/gpt-5.6-sol", 272_000),
            ("gpt-5.21", UNKNOWN_CONTEXT_TOKENS),
            ("demo", 128_000),
            ("qwen3-coder", UNKNOWN_CONTEXT_TOKENS),
        ];
        for (model, context) in cases {
            assert_eq!(Capability::of(model).context_tokens, context, "{model}");
        }
        assert!(!Capability::of("qwen3-coder").freeform_lark);
    }

    #[test]
    fn a_format_is_used_only_where_there_is_its_tool() {
        let with = |edit_format, freeform_lark, functions| Capability {
            freeform_lark,
            functions,
            edit_format,
            ..Capability::UNKNOWN
        };
        assert_eq!(Capability::of("gpt-5.3-codex-spark").edits(), EditFormat::PatchTool);
        assert_eq!(Capability::of("qwen3-coder").edits(), EditFormat::SearchReplace);
        assert_eq!(with(EditFormat::PatchTool, false, true).edits(), EditFormat::Patch);
        assert_eq!(with(EditFormat::EditTool, true, false).edits(), EditFormat::SearchReplace);
        assert_eq!(with(EditFormat::EditTool, false, true).edits(), EditFormat::EditTool);
        assert_eq!(with(EditFormat::Whole, true, true).edits(), EditFormat::Whole);
        for (name, format) in EditFormat::NAMES {
            assert_eq!(EditFormat::named(name), Some(format));
        }
        assert_eq!(EditFormat::named("telepathy"), None);
    }
}

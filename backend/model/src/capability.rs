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
    };

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
}

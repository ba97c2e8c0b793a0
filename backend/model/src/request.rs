//! What a model is asked, the same for every provider.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::event::ToolKind;

/// One request to a model.
///
/// Two calls of one turn should share everything but `input`, and the second input should begin with the first
/// one and the output of its [`crate::ModelEvent::Done`]. Then a provider that can will send only what is new.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallRequest {
    /// Another model of the same provider than the one in its settings.
    pub model: Option<String>,
    /// What the model is told about its work, before anything else.
    pub instructions: String,
    /// The conversation so far, oldest first.
    pub input: Vec<InputItem>,
    /// The tools it may call.
    pub tools: Vec<Tool>,
    /// The most tokens the answer may have; `None` leaves it to the provider.
    pub max_output_tokens: Option<u32>,
    /// Calls with the same key share the provider's prompt cache.
    pub prompt_cache_key: Option<String>,
    /// Small labels that travel with the request. The demo model reads faults from here, for tests.
    pub metadata: BTreeMap<String, String>,
}

/// One item of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum InputItem {
    /// What a person, or the product for them, says.
    UserText(String),
    /// What the model said before.
    AssistantText(String),
    /// A tool call the model made before.
    ToolCall {
        /// Pairs the call with its output.
        call_id: String,
        /// The tool's name.
        name: String,
        /// Whether the input is free text or JSON.
        kind: ToolKind,
        /// The whole input.
        input: String,
    },
    /// What came of a tool call.
    ToolOutput {
        /// The id of the call it answers.
        call_id: String,
        /// Whether the call was to a custom tool or a function.
        kind: ToolKind,
        /// What the model is told about it.
        output: String,
    },
    /// An item of the same provider that has no neutral form, such as encrypted reasoning. It is replayed as it
    /// was; a provider that cannot leaves it out.
    Carried(Value),
}

/// A tool the model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// A tool that takes free text, for models with `freeform_lark`.
    Custom {
        /// Its name.
        name: String,
        /// What it does and when to use it.
        description: String,
        /// The grammar of its input, in Lark; `None` takes any text.
        lark: Option<String>,
    },
    /// A tool that takes a JSON object.
    Function {
        /// Its name.
        name: String,
        /// What it does and when to use it.
        description: String,
        /// The JSON schema of its parameters.
        parameters: Value,
    },
}

//! Which model answers.

use ensemble_model::EditFormat;
use secrecy::SecretString;

use super::source::{Key, Shown, Values};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "model.name",
        env: "ENSEMBLE_MODEL",
        default: "",
        help: "The model, as provider:model, or demo; with OPENAI_API_KEY set it is openai:gpt-5.3-codex-spark.",
        shown: Shown::Plain,
    },
    Key {
        name: "model.base_url",
        env: "ENSEMBLE_MODEL_BASE_URL",
        default: "",
        help: "The address of a compatible API, ending in /v1.",
        shown: Shown::Plain,
    },
    Key {
        name: "model.api_key",
        env: "ENSEMBLE_MODEL_API_KEY",
        default: "",
        help: "The key for that API.",
        shown: Shown::Never,
    },
    Key {
        name: "model.transport",
        env: "ENSEMBLE_MODEL_TRANSPORT",
        default: "",
        help: "How it is talked to: responses_ws (the default for OpenAI), responses_sse, or chat (the default elsewhere).",
        shown: Shown::Plain,
    },
    Key {
        name: "model.edit_format",
        env: "ENSEMBLE_MODEL_EDIT_FORMAT",
        default: "",
        help: "How it hands in changes: patch_tool, patch, edit_tool, search_replace or whole; by its name when empty.",
        shown: Shown::Plain,
    },
    Key {
        name: "model.openai_api_key",
        env: "OPENAI_API_KEY",
        default: "",
        help: "A key for OpenAI; alone it is enough for the default model.",
        shown: Shown::Never,
    },
    Key {
        name: "model.demo_tokens_per_second",
        env: "ENSEMBLE_DEMO_TOKENS_PER_SECOND",
        default: "1000",
        help: "How fast the built-in demo model writes.",
        shown: Shown::Plain,
    },
];

/// How fast the demo model writes when nobody says otherwise.
pub const DEMO_TOKENS_PER_SECOND: u32 = 1000;

const OPENAI: &str = "openai";
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
const OPENAI_MODEL: &str = "gpt-5.3-codex-spark";

/// How a model is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The Responses API over a persistent WebSocket.
    ResponsesWs,
    /// The Responses API over HTTP streaming.
    ResponsesSse,
    /// Chat Completions over HTTP streaming.
    Chat,
}

/// Which model answers.
#[derive(Debug, Clone)]
pub enum ModelConfig {
    /// The built-in rule-based one, which the server starts for itself.
    Demo {
        /// How fast it writes.
        tokens_per_second: u32,
    },
    /// A model behind an API.
    Remote(RemoteModel),
}

/// A model behind an API.
#[derive(Debug, Clone)]
pub struct RemoteModel {
    /// Who runs it, as people should see it.
    pub provider: String,
    /// Its name there.
    pub model: String,
    /// The address of the API.
    pub base_url: String,
    /// The key for it.
    pub api_key: Option<SecretString>,
    /// How it is talked to.
    pub transport: Transport,
    /// How it hands in changes; what is known of its name when left out.
    pub edit_format: Option<EditFormat>,
}

impl ModelConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let rate = values
            .number("model.demo_tokens_per_second", "a number of tokens")
            .unwrap_or(DEMO_TOKENS_PER_SECOND);
        if rate == 0 {
            values.problem("`ENSEMBLE_DEMO_TOKENS_PER_SECOND` has to be 1 or more");
        }
        let demo = Self::Demo { tokens_per_second: rate };

        let name = values.text("model.name");
        let base_url = values.parse("model.base_url", read_base_url);
        let openai_key = values.text("model.openai_api_key");
        let own_key = values.text("model.api_key");
        let transport = values.parse("model.transport", |word| match word {
            "responses_ws" => Ok(Transport::ResponsesWs),
            "responses_sse" => Ok(Transport::ResponsesSse),
            "chat" => Ok(Transport::Chat),
            _ => Err("it has to be `responses_ws`, `responses_sse` or `chat`".to_owned()),
        });
        let edit_format = values.parse("model.edit_format", |word| {
            let names = EditFormat::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
            EditFormat::named(word).ok_or_else(|| format!("it has to be one of {names}"))
        });

        if name.as_deref() == Some("demo") {
            return demo;
        }
        let asked = match name.as_deref() {
            Some(name) => match name.split_once(':') {
                Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                    Some((provider.to_owned(), model.to_owned()))
                }
                _ => {
                    values.problem(format!(
                        "`ENSEMBLE_MODEL` is `{name}`: it has to be `provider:model` or `demo`"
                    ));
                    return demo;
                }
            },
            None => None,
        };
        let Some((provider, model)) =
            asked.or_else(|| openai_key.is_some().then(|| (OPENAI.to_owned(), OPENAI_MODEL.to_owned())))
        else {
            if values.is_set("model.base_url") || own_key.is_some() {
                values.problem("`ENSEMBLE_MODEL` is missing: say which model to use, as `provider:model`");
            }
            return demo;
        };
        let is_openai = provider == OPENAI && base_url.is_none();
        if base_url.is_none() && !is_openai && !values.is_set("model.base_url") {
            values.problem(format!("`ENSEMBLE_MODEL_BASE_URL` is missing: where is the API of `{provider}`"));
        }
        // The key for OpenAI goes to OpenAI and nowhere else.
        let api_key = own_key.or(if is_openai { openai_key } else { None });
        if is_openai && api_key.is_none() {
            values.problem(format!("`OPENAI_API_KEY` is missing: `{provider}:{model}` needs it"));
        }
        let usual = if is_openai { Transport::ResponsesWs } else { Transport::Chat };
        Self::Remote(RemoteModel {
            provider,
            model,
            base_url: base_url.unwrap_or_else(|| OPENAI_BASE_URL.into()),
            api_key: api_key.map(SecretString::from),
            transport: transport.unwrap_or(usual),
            edit_format,
        })
    }

    /// Whether this is the built-in demo model.
    pub const fn is_demo(&self) -> bool {
        matches!(self, Self::Demo { .. })
    }

    /// The model's name, as people should see it.
    pub fn model(&self) -> &str {
        match self {
            Self::Demo { .. } => "demo",
            Self::Remote(remote) => &remote.model,
        }
    }

    /// Who runs it, as people should see it.
    pub fn provider(&self) -> &str {
        match self {
            Self::Demo { .. } => "demo",
            Self::Remote(remote) => &remote.provider,
        }
    }
}

fn read_base_url(text: &str) -> Result<String, String> {
    let wrong = || "it has to begin with `http://` or `https://` and end in `/v1`".to_owned();
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let text = text.trim_end_matches('/');
    match uri.scheme_str() {
        Some("http" | "https") if text.ends_with("/v1") && uri.query().is_none() => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secrecy::ExposeSecret as _;

    use super::super::{Config, Sources};
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ModelConfig, String> {
        let variables: BTreeMap<_, _> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sources = Sources { variables, ..Sources::default() };
        Config::read(&sources).map(|config| config.model).map_err(|error| error.to_string())
    }

    fn remote(variables: &[(&str, &str)]) -> RemoteModel {
        match read(variables).unwrap() {
            ModelConfig::Remote(remote) => remote,
            ModelConfig::Demo { .. } => panic!("this is the demo model"),
        }
    }

    #[test]
    fn without_a_key_the_demo_model_answers() {
        assert!(read(&[]).unwrap().is_demo());
        assert!(read(&[("ENSEMBLE_MODEL", "demo"), ("OPENAI_API_KEY", "k")]).unwrap().is_demo());
    }

    #[test]
    fn a_key_for_openai_is_enough() {
        let model = remote(&[("OPENAI_API_KEY", "k")]);
        assert_eq!((model.model.as_str(), model.transport), (OPENAI_MODEL, Transport::ResponsesWs));
        assert_eq!(model.base_url, OPENAI_BASE_URL);
    }

    #[test]
    fn the_key_for_openai_is_not_sent_to_others() {
        let elsewhere = [("ENSEMBLE_MODEL_BASE_URL", "http://localhost:11434/v1/"), ("OPENAI_API_KEY", "k")];
        let model = remote(&[elsewhere[0], elsewhere[1], ("ENSEMBLE_MODEL", "ollama:qwen3-coder")]);
        assert!(model.api_key.is_none());
        assert_eq!(
            (model.base_url.as_str(), model.transport),
            ("http://localhost:11434/v1", Transport::Chat)
        );
        let model = remote(&[elsewhere[0], ("ENSEMBLE_MODEL", "a:b"), ("ENSEMBLE_MODEL_API_KEY", "own")]);
        assert_eq!(model.api_key.unwrap().expose_secret(), "own");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (variables, named) in [
            (&[("ENSEMBLE_MODEL", "openai:x")][..], "OPENAI_API_KEY"),
            (&[("ENSEMBLE_MODEL", "acme:x")], "ENSEMBLE_MODEL_BASE_URL"),
            (&[("ENSEMBLE_MODEL", "spark")], "provider:model"),
            (&[("ENSEMBLE_MODEL_BASE_URL", "http://x/v1")], "ENSEMBLE_MODEL"),
            (&[("ENSEMBLE_MODEL", "a:b"), ("ENSEMBLE_MODEL_BASE_URL", "http://x")], "/v1"),
        ] {
            let problems = read(variables).unwrap_err();
            assert!(problems.contains(named), "{problems}");
        }
    }
}

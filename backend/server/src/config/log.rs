//! What is logged, and how.

use super::source::{Key, Shown, Values};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "log.filter",
        env: "ENSEMBLE_LOG",
        default: "info",
        help: "What is logged: error, warn, info, debug, trace, or a filter such as info,ensemble_sync=debug.",
        shown: Shown::Plain,
    },
    Key {
        name: "log.format",
        env: "ENSEMBLE_LOG_FORMAT",
        default: "human",
        help: "How it is logged: human or json.",
        shown: Shown::Plain,
    },
];

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A filter in the language of `tracing-subscriber`.
    pub filter: String,
    /// For people or for programs.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people, in color on a terminal.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let filter = values.parse("log.filter", |text| {
            tracing_subscriber::EnvFilter::try_new(text).map_err(|error| error.to_string())?;
            Ok(text.to_owned())
        });
        let format = values.parse("log.format", |text| match text {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            _ => Err("it has to be `human` or `json`".to_owned()),
        });
        Self { filter: filter.unwrap_or_else(|| "info".into()), format: format.unwrap_or(LogFormat::Human) }
    }
}

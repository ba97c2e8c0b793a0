//! The log: one line per event, for people or for programs, never with a secret or a text in it.

use std::io::IsTerminal as _;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogConfig, LogFormat};

/// Starts writing the log to standard error. Standard output is for what a program may read.
pub fn start(config: &LogConfig) {
    start_with(config, std::io::stderr, std::io::stderr().is_terminal());
}

/// Starts writing the log somewhere else, once per process.
pub fn start_with<W>(config: &LogConfig, writer: W, colored: bool)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let started = match config.format {
        LogFormat::Human => log.with_ansi(colored).try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).try_init(),
    };
    // Somebody else has set up a log already, as tests do: that one is used.
    drop(started);
}

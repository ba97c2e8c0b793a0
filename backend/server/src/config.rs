//! What an operator can set: read once, checked whole, passed down by section.
//!
//! Sources, later wins: defaults, `ensemble.toml`, variables, flags. Every problem is reported, not only the
//! first. Each section owns its keys with their defaults and explanations, and from those `.env.example` is
//! written.

mod auth;
mod database;
mod http;
mod limits;
mod log;
mod models;
mod source;

use std::fmt::Write as _;

pub use self::auth::AuthConfig;
pub use self::database::DatabaseConfig;
pub use self::http::HttpConfig;
pub(crate) use self::http::{host_of, host_of_authority, is_loopback_host};
pub use self::limits::{
    ConnectionLimits, ConnectionTimes, DocumentLimits, FlowRates, LimitsConfig, PerCaller, RequestRates,
    SocketRates, SocketTimes,
};
pub use self::log::{LogConfig, LogFormat};
pub use self::models::{DEMO_TOKENS_PER_SECOND, ModelConfig, RemoteModel, Transport};
use self::source::Values;
pub use self::source::{Key, Sources};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "ensemble.toml";

/// Everything an operator can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the server listens and what it is called from outside.
    pub http: HttpConfig,
    /// Where things are kept.
    pub database: DatabaseConfig,
    /// Who may come in.
    pub auth: AuthConfig,
    /// Which model answers.
    pub model: ModelConfig,
    /// How much of everything, how often, and how long things may take.
    pub limits: LimitsConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What is odd about the configuration but does not keep the server from starting.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be used: every reason there is.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub struct ConfigError(pub Vec<String>);

fn list(problems: &[String]) -> String {
    let mut text = String::from("the configuration cannot be used:");
    for problem in problems {
        let _ = write!(text, "\n  - {problem}");
    }
    text
}

/// All keys, section by section.
fn sections() -> [(&'static str, &'static [Key]); 6] {
    [
        ("Where the server listens", http::KEYS),
        ("Where things are kept", database::KEYS),
        ("Who may come in", auth::KEYS),
        ("Which model answers", models::KEYS),
        ("How much, how often and how long", limits::KEYS),
        ("What is logged", log::KEYS),
    ]
}

impl Config {
    /// Reads and checks everything.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let keys: Vec<&'static Key> = sections().iter().flat_map(|(_, keys)| keys.iter()).collect();
        let mut values = Values::gather(sources, &keys);
        let http = HttpConfig::read(&mut values);
        let database = DatabaseConfig::read(&mut values);
        let auth = AuthConfig::read(&mut values, &http);
        let model = ModelConfig::read(&mut values);
        let limits = LimitsConfig::read(&mut values);
        let log = LogConfig::read(&mut values);
        let (problems, warnings) = values.finish();
        if problems.is_empty() {
            Ok(Self { http, database, auth, model, limits, log, warnings })
        } else {
            Err(ConfigError(problems))
        }
    }

    /// What is set when nobody sets anything: this machine only, `./data`, the demo model.
    pub fn defaults() -> Self {
        Self::read(&Sources::default()).expect("the defaults are valid")
    }
}

/// The text of `.env.example`: every variable with its default and what it is for.
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every variable Ensemble reads, with its default. Written by `ensemble doctor --env-example`.\n\
         # The same can be set in `ensemble.toml` (the key is in brackets) or, for some, by a flag.\n",
    );
    for (title, keys) in sections() {
        let _ = write!(text, "\n## {title}\n");
        for key in keys {
            let _ = write!(text, "\n# {} [{}]\n# {}={}\n", key.help, key.name, key.env, key.default);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        env: &[(&str, &str)],
        file: Option<&str>,
        flags: &[(&'static str, &str)],
    ) -> Result<Config, ConfigError> {
        Config::read(&Sources {
            flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
            variables: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            file: file.map(|text| ("ensemble.toml".to_owned(), text.to_owned())),
        })
    }

    #[test]
    fn the_example_of_all_variables_is_up_to_date() {
        let kept = include_str!("../../../.env.example");
        assert_eq!(kept, env_example(), "run `ensemble doctor --env-example > .env.example`");
    }

    #[test]
    fn later_sources_win() {
        let file = Some("[http]\nlisten = \"127.0.0.1:1\"\n");
        let port = |config: Config| config.http.listen.port();
        assert_eq!(port(read(&[], None, &[]).unwrap()), 8080);
        assert_eq!(port(read(&[], file, &[]).unwrap()), 1);
        let env = [("ENSEMBLE_LISTEN", "127.0.0.1:2")];
        assert_eq!(port(read(&env, file, &[]).unwrap()), 2);
        assert_eq!(port(read(&env, file, &[("http.listen", "127.0.0.1:3")]).unwrap()), 3);
    }

    #[test]
    fn all_problems_are_reported_together() {
        let env = [
            ("ENSEMBLE_LISTEN", "here"),
            ("ENSEMBLE_DATABASE_URL", "postgres://somebody:hunter2@db/ensemble"),
            ("ENSEMBLE_BUS_URL", "nats://bus"),
            ("ENSEMBLE_ACCESS", "closed"),
            ("ENSEMBLE_PUBLIC_URL", "ftp://x"),
        ];
        let error = read(&env, Some("color = \"red\"\n"), &[]).unwrap_err();
        assert_eq!(error.0.len(), 6, "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn open_access_is_the_default_on_this_machine_only() {
        use ensemble_protocol::rest::Access;
        assert_eq!(read(&[], None, &[]).unwrap().auth.access, Access::Open);
        let wide = [("ENSEMBLE_LISTEN", "0.0.0.0:8080")];
        assert_eq!(read(&wide, None, &[]).unwrap().auth.access, Access::Invite);
        assert_eq!(read(&wide, None, &[("auth.access", "open")]).unwrap().auth.access, Access::Open);
    }

    /// [A8] A key is not printed.
    #[test]
    fn secrets_are_not_printed() {
        let config = read(&[("OPENAI_API_KEY", "sk-canary")], None, &[]).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
    }
}

//! Who may come in.

use ensemble_protocol::rest::Access;

use super::http::HttpConfig;
use super::source::{Key, Shown, Values};

pub(super) const KEYS: &[Key] = &[Key {
    name: "auth.access",
    env: "ENSEMBLE_ACCESS",
    default: "",
    help: "Who may make projects: open (anybody who reaches the server; the default on this machine) or invite (the default elsewhere).",
    shown: Shown::Plain,
}];

/// Who may come in.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// Who may make projects.
    pub access: Access,
}

impl AuthConfig {
    pub(super) fn read(values: &mut Values, http: &HttpConfig) -> Self {
        let usual = if http.listen.ip().is_loopback() { Access::Open } else { Access::Invite };
        let access = values.parse("auth.access", |word| {
            Access::from_word(word).ok_or_else(|| "it has to be `open` or `invite`".to_owned())
        });
        Self { access: access.unwrap_or(usual) }
    }
}

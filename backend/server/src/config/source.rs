//! Where settings come from, and in which order they win.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Something that can be set.
#[derive(Debug)]
pub struct Key {
    /// Its name in `ensemble.toml`, with a dot between section and key.
    pub name: &'static str,
    /// Its variable.
    pub env: &'static str,
    /// Its default, as `.env.example` shows it; empty where there is none.
    pub default: &'static str,
    /// What it is for, in one line.
    pub help: &'static str,
    /// Whether its value is kept out of messages.
    pub shown: Shown,
}

/// Whether a value may be repeated in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It may.
    Plain,
    /// It is or may contain a secret.
    Never,
}

/// What the program was started with.
#[derive(Debug, Default, Clone)]
pub struct Sources {
    /// Keys set by flags.
    pub flags: Vec<(&'static str, String)>,
    /// Variables of the environment.
    pub variables: BTreeMap<String, String>,
    /// Name and text of the configuration file.
    pub file: Option<(String, String)>,
}

/// Where a value was found, for messages about it.
#[derive(Debug, Clone)]
struct Found {
    value: String,
    place: String,
    shown: Shown,
}

/// The values of all keys, with the problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Values {
    found: BTreeMap<&'static str, Found>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Values {
    /// Collects the values of these keys from all sources.
    pub(crate) fn gather(sources: &Sources, keys: &[&'static Key]) -> Self {
        let mut values = Self::default();
        if let Some((name, text)) = &sources.file {
            values.read_file(name, text, keys);
        }
        for key in keys {
            if let Some(value) = sources.variables.get(key.env).filter(|value| !value.trim().is_empty()) {
                values.put(key, value, format!("`{}`", key.env));
            }
        }
        for name in sources.variables.keys().filter(|name| name.starts_with("ENSEMBLE_")) {
            if name != "ENSEMBLE_CONFIG" && !keys.iter().any(|key| key.env == name) {
                values.warnings.push(format!("there is no variable `{name}`"));
            }
        }
        for (name, value) in &sources.flags {
            let key = keys.iter().find(|key| key.name == *name).expect("every flag sets a key that exists");
            let flag = key.env.trim_start_matches("ENSEMBLE_").to_lowercase().replace('_', "-");
            values.put(key, value, format!("`--{flag}`"));
        }
        values
    }

    fn put(&mut self, key: &'static Key, value: &str, place: String) {
        let found = Found { value: value.trim().to_owned(), place, shown: key.shown };
        self.found.insert(key.name, found);
    }

    fn read_file(&mut self, name: &str, text: &str, keys: &[&'static Key]) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                self.problems.push(format!("`{name}` is not valid TOML: {}", error.message()));
                return;
            }
        };
        for (section, value) in table {
            let toml::Value::Table(section_keys) = value else {
                self.problems.push(format!("`{name}`: `{section}` is not a section"));
                continue;
            };
            for (key_name, value) in section_keys {
                let full = format!("{section}.{key_name}");
                let Some(key) = keys.iter().find(|key| key.name == full) else {
                    self.problems.push(format!("`{name}`: there is no key `{full}`"));
                    continue;
                };
                let text = match value {
                    toml::Value::String(text) => text,
                    toml::Value::Integer(number) => number.to_string(),
                    toml::Value::Boolean(flag) => flag.to_string(),
                    toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                        items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
                    }
                    _ => {
                        self.problems.push(format!("`{name}`: `{full}` is neither a text nor a number"));
                        continue;
                    }
                };
                self.put(key, &text, format!("`{full}` in `{name}`"));
            }
        }
    }

    /// The value of a key, where it was set.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.found.get(name).map(|found| found.value.clone())
    }

    /// Whether somebody set this key.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// The value of a key read by `read`; a problem is noted where it cannot be.
    pub(crate) fn parse<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let found = self.found.get(name)?.clone();
        match read(&found.value) {
            Ok(value) => Some(value),
            Err(why) => {
                let problem = match found.shown {
                    Shown::Plain => format!("{} is `{}`: {why}", found.place, found.value),
                    Shown::Never => format!("{}: {why}", found.place),
                };
                self.problems.push(problem);
                None
            }
        }
    }

    /// The value of a key as a number or the like.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str, what: &str) -> Option<T> {
        self.parse(name, |text| text.parse().map_err(|_| format!("it has to be {what}")))
    }

    /// Notes a problem that is about several keys.
    pub(crate) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// Notes something odd that can be lived with.
    pub(crate) fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    /// Problems and warnings.
    pub(crate) fn finish(self) -> (Vec<String>, Vec<String>) {
        (self.problems, self.warnings)
    }
}

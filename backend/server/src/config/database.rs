//! Where things are kept.

use std::path::PathBuf;

use super::source::{Key, Shown, Values};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "database.data",
        env: "ENSEMBLE_DATA",
        default: "./data",
        help: "Folder for the SQLite database.",
        shown: Shown::Plain,
    },
    Key {
        name: "database.url",
        env: "ENSEMBLE_DATABASE_URL",
        default: "",
        help: "Another place for the SQLite database, such as sqlite:/var/lib/ensemble/ensemble.db.",
        shown: Shown::Never,
    },
    Key {
        name: "database.bus_url",
        env: "ENSEMBLE_BUS_URL",
        default: "",
        help: "The bus between several servers; one server needs none, and several are not supported yet.",
        shown: Shown::Never,
    },
];

/// The name of the database in the data folder.
const DATABASE_FILE: &str = "ensemble.db";

/// Where things are kept.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// The SQLite file. Its folder is made where it is missing.
    pub file: PathBuf,
}

impl DatabaseConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let data = PathBuf::from(values.text("database.data").unwrap_or_else(|| "./data".into()));
        let file = values.parse("database.url", |url| {
            let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
            match path {
                Some("") => Err("the path is missing".to_owned()),
                Some(path) => Ok(PathBuf::from(path)),
                None => Err("only `sqlite:PATH` is supported so far".to_owned()),
            }
        });
        values.parse("database.bus_url", |_| {
            Err::<(), _>("several servers on one bus are not supported yet".to_owned())
        });
        Self { file: file.unwrap_or_else(|| data.join(DATABASE_FILE)) }
    }
}

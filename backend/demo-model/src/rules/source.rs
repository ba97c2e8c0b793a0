//! As much about languages as the rules need: what is code, and where the functions are.

mod javascript;
mod python;
mod rust;
mod scan;

pub(super) use self::scan::Code;

/// A language, by the extension of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Language {
    Python,
    JavaScript,
    TypeScript,
    Rust,
}

impl Language {
    pub(super) fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let (_, extension) = name.rsplit_once('.')?;
        Some(match extension.to_ascii_lowercase().as_str() {
            "py" | "pyi" => Self::Python,
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "ts" | "tsx" | "mts" | "cts" => Self::TypeScript,
            "rs" => Self::Rust,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::Rust => "Rust",
        }
    }
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Its type as written, if it is.
    pub(super) kind: Option<String>,
    /// Its default as written, if it has one.
    pub(super) default: Option<String>,
    /// It takes all that is left over.
    pub(super) rest: bool,
}

/// A function or method. Lines are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The first line of what belongs to it: decorators, attributes, its documentation.
    pub(super) top: usize,
    /// Where its decorators or attributes begin, below documentation that stands above it.
    pub(super) head: usize,
    /// The line of its name.
    pub(super) line: usize,
    /// The first line of its body, if it has one on lines of its own.
    pub(super) body: Option<usize>,
    /// Its last line.
    pub(super) end: usize,
    pub(super) indent: String,
    pub(super) parameters: Vec<Parameter>,
    /// The type it returns, as written.
    pub(super) returns: Option<String>,
    /// Whether its code returns a value somewhere.
    pub(super) returns_value: bool,
    pub(super) documented: bool,
}

/// The functions of a text, in order.
pub(super) fn functions(language: Language, lines: &[String]) -> Vec<Function> {
    let code = Code::new(language, lines);
    match language {
        Language::Python => python::functions(&code),
        Language::JavaScript | Language::TypeScript => javascript::functions(&code),
        Language::Rust => rust::functions(&code),
    }
}

/// Whether a character can be part of a name.
pub(super) fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

/// Whether a text is a name.
pub(super) fn is_identifier(text: &str) -> bool {
    text.chars().all(is_name) && text.chars().next().is_some_and(|first| !first.is_numeric())
}

/// The white space a line begins with.
pub(super) fn indent_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

#[cfg(test)]
mod tests;

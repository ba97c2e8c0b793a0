//! Paths in a project: one function decides which are allowed.

use ensemble_protocol::error::ErrorCode;
use ensemble_protocol::limits;

use crate::error::ApiError;

/// Names that Windows gives to devices, with or without an extension: a project is downloaded there too.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];
/// Characters that cannot be in a file name on every system.
const FORBIDDEN: [char; 8] = ['\\', ':', '*', '?', '"', '<', '>', '|'];

/// Refuses a path that could not be a file on every system.
///
/// A path is relative with `/` between its segments; none of them is empty, `.` or `..`, ends in a dot or a
/// space, begins with a space, or has a name that Windows keeps for itself.
pub(super) fn check(path: &str) -> Result<(), ApiError> {
    match problem(path) {
        None => Ok(()),
        Some(why) => Err(ApiError::new(ErrorCode::PathInvalid, why)),
    }
}

fn problem(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some("the path is empty".into());
    }
    if path.chars().count() > limits::PATH_CHARS {
        return Some(format!("the path is longer than {} characters", limits::PATH_CHARS));
    }
    if path.starts_with('/') {
        return Some("the path has to be relative: it begins with `/`".into());
    }
    if path.chars().any(char::is_control) {
        return Some("the path contains a control character".into());
    }
    if let Some(forbidden) = path.chars().find(|character| FORBIDDEN.contains(character)) {
        return Some(format!("the path contains `{forbidden}`, which not every system allows"));
    }
    path.split('/').find_map(|segment| {
        if segment.is_empty() {
            return Some("the path has an empty segment".to_owned());
        }
        if segment == "." || segment == ".." {
            return Some(format!("the path has the segment `{segment}`"));
        }
        if segment.ends_with(['.', ' ']) || segment.starts_with(' ') {
            return Some("a segment of the path begins or ends with a space, or ends with a dot".to_owned());
        }
        let stem = segment.split('.').next().unwrap_or(segment).to_lowercase();
        RESERVED
            .contains(&stem.as_str())
            .then(|| format!("`{segment}` is a name that Windows keeps for itself"))
    })
}

/// Why two different paths cannot be in one project, if they cannot.
pub(super) fn collision(path: &str, other: &str) -> Option<String> {
    let (path, lower_other) = (path.to_lowercase(), other.to_lowercase());
    if path == lower_other {
        return Some(format!("`{other}` has this path, upper and lower case aside"));
    }
    let inside =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    if inside(&path, &lower_other) {
        return Some(format!("`{other}` is a document, so it cannot be a folder"));
    }
    inside(&lower_other, &path).then(|| format!("it is a folder: `{other}` is in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_allowed() {
        let long = "a".repeat(limits::PATH_CHARS);
        for path in [
            "a",
            "main.py",
            "src/main.rs",
            ".gitignore",
            "a b/c d.txt",
            "ü/ß.md",
            "con_man.py",
            "...x",
            &long,
        ] {
            assert_eq!(problem(path), None, "{path:?}");
        }
    }

    #[test]
    fn paths_that_no_system_or_not_every_system_takes_are_refused() {
        let long = "a".repeat(limits::PATH_CHARS + 1);
        for path in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "a/..",
            "../a",
            "a/./b",
            "a\\b",
            "c:/a",
            "a\0b",
            "a\nb",
            "a.",
            "a /b",
            " a",
            "CON",
            "con.txt",
            "src/Aux.rs",
            "LPT1.log",
            "a?",
            "a*",
            "a|b",
            &long,
        ] {
            assert!(problem(path).is_some(), "{path:?}");
            assert_eq!(check(path).unwrap_err().code, ErrorCode::PathInvalid);
        }
    }

    #[test]
    fn paths_that_would_be_one_file_collide() {
        for (path, other, collides) in [
            ("a.py", "A.py", true),
            ("a/b", "a", true),
            ("a", "A/b", true),
            ("ab", "a", false),
            ("a.py", "b.py", false),
            ("Über.md", "über.md", true),
        ] {
            assert_eq!(collision(path, other).is_some(), collides, "{path} {other}");
        }
    }
}

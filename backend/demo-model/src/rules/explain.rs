//! Saying what selected lines are, in facts that can be read off them.

use super::{
    Outcome,
    conversation::Conversation,
    counted, listed,
    source::{self, Code, Language, is_name},
};

/// Names listed one by one; of more only the number is said.
const NAMES: usize = 6;
/// Words before a bracket that are no calls.
const KEYWORDS: [&str; 24] = [
    "if", "for", "while", "switch", "catch", "return", "match", "elif", "and", "or", "not", "in", "print!",
    "def", "fn", "function", "class", "lambda", "await", "with", "assert", "yield", "raise", "else",
];

/// Explains the selection, or the open document where nothing is selected.
pub(super) fn explain(conversation: &Conversation) -> Outcome {
    let selected = conversation.selection.as_ref().map(|selection| {
        let shown = conversation.documents.iter().find(|document| document.path == selection.path);
        // The document's own lines are whole, even where the selection begins within one.
        let lines = shown.and_then(|document| {
            let start = selection.start_line.checked_sub(document.first_line)?;
            let end = (selection.end_line + 1).checked_sub(document.first_line)?;
            document.lines.get(start..end.min(document.lines.len())).map(<[String]>::to_vec)
        });
        let place = if selection.start_line == selection.end_line {
            format!("Line {} of `{}`", selection.start_line, selection.path)
        } else {
            format!("Lines {} to {} of `{}`", selection.start_line, selection.end_line, selection.path)
        };
        let lines = lines.filter(|lines| !lines.is_empty()).unwrap_or_else(|| selection.lines.clone());
        (place, selection.path.clone(), lines)
    });
    let (place, path, lines) = match (selected, conversation.open()) {
        (Some(selected), _) => selected,
        (None, Some(open)) => {
            let document = &conversation.documents[open];
            (format!("`{}`", document.path), document.path.clone(), document.lines.clone())
        }
        (None, None) => return Outcome::say("I was shown nothing that I could explain."),
    };
    let filled = lines.iter().filter(|line| !line.trim().is_empty()).count();
    if filled == 0 {
        return Outcome::say(format!("{place} is empty."));
    }
    let Some(language) = Language::of(&path) else {
        let count = counted(lines.len(), "line");
        return Outcome::say(format!("{place}: {count} of text in a language I do not know."));
    };
    let count = counted(lines.len(), "line");
    let mut outcome = Outcome::say(format!("{place}: {count} of {}.", language.name()));
    outcome.said.extend(facts(language, &lines));
    outcome
}

fn facts(language: Language, lines: &[String]) -> Vec<String> {
    let functions = source::functions(language, lines);
    let code = Code::new(language, lines);
    let text: Vec<String> = (0..code.line_count()).map(|line| code.code_line(line)).collect();
    let begins = |words: &[&str]| {
        text.iter()
            .filter(|line| words.iter().any(|word| first_words(line).contains(&(*word).to_owned())))
            .count()
    };
    let mut said = Vec::new();
    let mut defined: Vec<String> = functions
        .iter()
        .map(|function| {
            let parameters: Vec<&str> =
                function.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            format!("the function `{}({})`", function.name, parameters.join(", "))
        })
        .collect();
    defined.extend(types(language, &text));
    if defined.len() > NAMES {
        let more = defined.len() - NAMES;
        defined.truncate(NAMES);
        defined.push(format!("{more} more"));
    }
    if !defined.is_empty() {
        said.push(format!("It defines {}.", listed(&defined)));
    }
    let mut holds = Vec::new();
    for (words, thing) in [
        (&["for", "while", "loop"][..], "loop"),
        (&["if", "elif", "match", "switch"][..], "condition"),
        (&["return"][..], "return"),
        (&["import", "from", "use"][..], "import"),
        (&["try"][..], "try block"),
    ] {
        let count = begins(words);
        if count > 0 {
            holds.push(counted(count, thing));
        }
    }
    if !holds.is_empty() {
        said.push(format!("It has {}.", listed(&holds)));
    }
    let calls = calls(&text, &functions.iter().map(|function| function.name.as_str()).collect::<Vec<_>>());
    if !calls.is_empty() {
        said.push(format!("It calls {}.", listed(&calls)));
    }
    let assigned = assigned(&text);
    if functions.is_empty() && !assigned.is_empty() {
        said.push(format!("It sets {}.", listed(&assigned)));
    }
    if let Some(raw) = (said.is_empty() && lines.len() == 1).then(|| lines[0].trim()) {
        let comment = text[0].trim().is_empty() && !raw.is_empty();
        said.push(if comment { "It is a comment.".into() } else { "It is a single statement.".into() });
    }
    said
}

/// The words a line begins with, up to the first that is none of the usual ones in front.
fn first_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let line = line.trim_start().trim_start_matches(['}', ' ']);
    for word in line.split(|character: char| !is_name(character)) {
        if word.is_empty() {
            continue;
        }
        words.push(word.to_owned());
        if !matches!(word, "export" | "async" | "await" | "else" | "pub") {
            break;
        }
    }
    words
}

fn types(language: Language, text: &[String]) -> Vec<String> {
    let kinds: &[&str] = match language {
        Language::Python | Language::JavaScript => &["class"],
        Language::TypeScript => &["class", "interface", "enum"],
        Language::Rust => &["struct", "enum", "trait"],
    };
    let mut found = Vec::new();
    for line in text {
        let words: Vec<&str> =
            line.split(|character: char| !is_name(character)).filter(|word| !word.is_empty()).collect();
        let kind = words.iter().take(4).position(|word| kinds.contains(word));
        let only_modifiers = |position: usize| {
            words[..position].iter().all(|word| {
                matches!(*word, "export" | "default" | "abstract" | "declare" | "pub" | "crate" | "const")
            })
        };
        if let Some(position) = kind.filter(|position| only_modifiers(*position))
            && let Some(name) = words.get(position + 1)
        {
            found.push(format!("the {} `{name}`", words[position]));
        }
    }
    found
}

fn calls(text: &[String], own: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text {
        for (at, _) in line.match_indices('(') {
            let before = line[..at].trim_end_matches('!');
            let start = before
                .rfind(|character: char| !is_name(character))
                .map_or(0, |position| position + before[position..].chars().next().map_or(1, char::len_utf8));
            let name = &before[start..];
            let defined = ["def", "fn", "function", "class"]
                .iter()
                .any(|word| before[..start].trim_end().ends_with(word));
            let usable = source::is_identifier(name) && !KEYWORDS.contains(&name) && !own.contains(&name);
            let call = format!("`{name}`");
            if usable && !defined && !found.contains(&call) {
                found.push(call);
            }
        }
    }
    if found.len() > NAMES {
        let more = found.len() - NAMES;
        found.truncate(NAMES);
        found.push(format!("{more} more"));
    }
    found
}

fn assigned(text: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text {
        let Some(at) = line.find('=') else { continue };
        let compared = line[at + 1..].starts_with(['=', '>']) || line[..at].ends_with(['!', '<', '>', '=']);
        let left =
            line[..at].split(':').next().unwrap_or_default().trim_end_matches(['+', '-', '*', '/', ' ']);
        let name = left.split_whitespace().last().unwrap_or_default();
        let call = format!("`{name}`");
        if !compared && source::is_identifier(name) && !found.contains(&call) {
            found.push(call);
        }
    }
    found.truncate(NAMES);
    found
}

//! What a prompt wants, as far as a handful of rules can tell.

use super::{
    add::Template,
    conversation::Conversation,
    source::{self, Language, is_identifier},
};

/// Which documents a wish is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The open one.
    Open,
    /// All that are shown.
    Everywhere,
    /// These, by path; they may not be shown or not exist.
    Files(Vec<String>),
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Rename whole names.
    Rename { pairs: Vec<(String, String)>, scope: Scope },
    /// Replace a text literally.
    Replace { from: String, to: String, scope: Scope },
    /// Change one into the other: a name if there is one of that name, or else a text.
    Change { from: String, to: String, scope: Scope },
    /// Document functions: these, or all.
    Comment { names: Vec<String>, scope: Scope },
    /// Add a well-known function, perhaps under another name.
    Add { function: Template, name: Option<String>, scope: Scope },
    /// Remove functions.
    Remove { names: Vec<String>, scope: Scope },
    /// Explain the selection.
    Explain,
    /// None of these.
    Unknown,
}

/// The verbs that begin a wish.
const VERBS: &str = "rename replace substitute swap change turn delete remove drop erase explain describe summarize \
    summarise what document comment annotate add write create implement insert make generate append put \
    give";
/// Words that may stand around a name and are none.
const FILLERS: &str = "a an the this that my our all every each any of in from for please function functions method methods \
    def fn variable variables identifier name names class struct type constant const parameter argument \
    field property symbol module local global named called occurrences occurrence instances instance \
    uses usages unused old helper text string word phrase literal value everything it file document";

/// Fillers that say what kind of thing a name belongs to, and are hardly ever names.
const KINDS: &str = "function functions method methods def fn variable variables identifier names class struct constant \
    const parameter argument field property symbol module occurrences";
/// Fillers that are never names, except the article that is also a letter.
const SMALL_WORDS: &str =
    "an the this that my our all every each any of in from for please named called it everything";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    /// The end of a sentence or line, a comma, or a semicolon.
    Break,
}

/// A word of the prompt, and where it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    kind: Kind,
    text: String,
    start: usize,
    end: usize,
}

impl Token {
    fn is(&self, words: &[&str]) -> bool {
        self.kind == Kind::Word && words.iter().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    /// Whether this is one of the words of a list.
    fn is_in(&self, list: &str) -> bool {
        self.kind == Kind::Word && list.split_whitespace().any(|word| self.text.eq_ignore_ascii_case(word))
    }

    /// The name this may be.
    fn name(&self) -> Option<String> {
        let text = self.text.trim().trim_end_matches("()");
        let usable = is_identifier(text) && (self.kind == Kind::Quoted || !self.is_in(FILLERS));
        (usable && self.kind != Kind::Break).then(|| text.to_owned())
    }
}

/// Everything a prompt wants, in order.
pub(super) fn read(conversation: &Conversation) -> Vec<Wish> {
    let prompt = &conversation.prompt;
    let tokens = tokens(prompt);
    let mut wishes = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let begins = at == 0
            || starts.is_empty()
            || tokens[at - 1].kind == Kind::Break
            || tokens[at - 1].is(&["and", "then", "also"]);
        if begins && token.is_in(VERBS) {
            starts.push(at);
        }
    }
    // A verb further on in the first sentence counts too: "could you please rename …".
    for (number, start) in starts.iter().enumerate() {
        let end = starts.get(number + 1).copied().unwrap_or(tokens.len());
        let mut wish = &tokens[*start..end];
        while let [rest @ .., last] = wish {
            if last.kind == Kind::Break || last.is(&["and", "then", "also", "please", "thanks"]) {
                wish = rest;
            } else {
                break;
            }
        }
        wishes.push(read_wish(wish, prompt, conversation));
    }
    if wishes.is_empty() {
        let lower = prompt.to_lowercase();
        let asked =
            Template::find(&lower).map(|function| Wish::Add { function, name: None, scope: Scope::Open });
        wishes.push(asked.unwrap_or(Wish::Unknown));
    }
    // Saying twice that a part was not understood helps nobody.
    wishes.dedup();
    wishes
}

fn read_wish(tokens: &[Token], prompt: &str, conversation: &Conversation) -> Wish {
    let Some((verb, rest)) = tokens.split_first() else { return Wish::Unknown };
    let (scope, rest) = scope_of(rest, conversation);
    let rest = rest.as_slice();
    let has = |words: &[&str]| rest.iter().any(|token| token.is(words));
    let lower = rest.iter().map(|token| token.text.to_lowercase()).collect::<Vec<_>>().join(" ");
    match verb.text.to_lowercase().as_str() {
        "rename" => match pairs(rest) {
            pairs if pairs.is_empty() => Wish::Unknown,
            pairs => Wish::Rename { pairs, scope },
        },
        "replace" | "substitute" | "swap" | "turn" | "change" => {
            if has(&["name", "names"]) && !pairs(rest).is_empty() && verb.is(&["change"]) {
                return Wish::Rename { pairs: pairs(rest), scope };
            }
            let Some((from, to, quoted)) = replacement(rest, prompt) else { return Wish::Unknown };
            let literal = verb.is(&["replace", "substitute", "swap"]);
            if !literal && !quoted && is_identifier(&from) && is_identifier(&to) {
                Wish::Change { from, to, scope }
            } else {
                Wish::Replace { from, to, scope }
            }
        }
        "delete" | "remove" | "drop" | "erase" => {
            let names: Vec<String> =
                rest.iter().filter(|token| !token.is(&["and", "or"])).filter_map(Token::name).collect();
            Wish::Remove { names, scope }
        }
        "explain" | "describe" | "summarize" | "summarise" | "what" => Wish::Explain,
        "document" | "comment" | "annotate" => {
            Wish::Comment { names: functions_named(rest, conversation), scope }
        }
        _ => {
            let documents = has(&[
                "docstring",
                "docstrings",
                "documentation",
                "doc",
                "docs",
                "jsdoc",
                "jsdocs",
                "rustdoc",
                "comment",
                "comments",
                "doc-comment",
                "doc-comments",
                "tsdoc",
            ]);
            if documents {
                return Wish::Comment { names: functions_named(rest, conversation), scope };
            }
            match Template::find(&lower) {
                Some(function) => {
                    let named = rest.windows(2).find_map(|pair| {
                        let says = pair[0].is(&["named", "called", "name"]);
                        says.then(|| pair[1].name()).flatten()
                    });
                    let name = named.filter(|name| !function.is_called(name));
                    Wish::Add { function, name, scope }
                }
                None => Wish::Unknown,
            }
        }
    }
}

/// The functions of the shown documents that a wish names.
fn functions_named(tokens: &[Token], conversation: &Conversation) -> Vec<String> {
    let mut known = Vec::new();
    for document in &conversation.documents {
        if let Some(language) = Language::of(&document.path) {
            known.extend(
                source::functions(language, &document.lines).into_iter().map(|function| function.name),
            );
        }
    }
    tokens.iter().filter_map(Token::name).filter(|name| known.contains(name)).collect()
}

/// Takes the words that say where out of a wish.
fn scope_of(tokens: &[Token], conversation: &Conversation) -> (Scope, Vec<Token>) {
    const WHERE: [&str; 6] = ["in", "across", "throughout", "to", "from", "into"];
    const MANY: [&str; 4] = ["all", "every", "each", "whole"];
    const THINGS: [&str; 10] = [
        "file",
        "files",
        "document",
        "documents",
        "module",
        "modules",
        "project",
        "codebase",
        "repository",
        "code",
    ];
    let mut scope = Scope::Open;
    let mut files = Vec::new();
    let mut rest: Vec<Token> = Vec::new();
    let mut at = 0;
    let drop_where = |rest: &mut Vec<Token>| {
        if rest.len() > 1 && rest.last().is_some_and(|token| token.is(&WHERE)) {
            rest.pop();
        }
    };
    while let Some(token) = tokens.get(at) {
        if token.is(&["everywhere", "project-wide", "globally"]) {
            scope = Scope::Everywhere;
            at += 1;
            continue;
        }
        if token.is(&WHERE) {
            let words = &tokens[at + 1..];
            let mut length = 0;
            while words.get(length).is_some_and(|word| {
                word.is(&["the", "this", "of", "other", "shown", "open", "current", "my", "our"])
                    || word.is(&MANY)
            }) {
                length += 1;
            }
            let thing = words.get(length).filter(|word| word.is(&THINGS));
            if let Some(thing) = thing {
                let many = words[..length].iter().any(|word| word.is(&MANY))
                    || thing.is(&["project", "codebase", "repository"]);
                // "to every function" is no place, but "in this file" is the usual one.
                if many {
                    scope = Scope::Everywhere;
                }
                at += length + 2;
                continue;
            }
        }
        if let Some(path) = path_of(&token.text, conversation) {
            drop_where(&mut rest);
            if rest.last().is_some_and(|token| token.is(&["file", "document", "named", "called"])) {
                rest.pop();
                drop_where(&mut rest);
            }
            files.push(path);
            at += 1;
            continue;
        }
        rest.push(token.clone());
        at += 1;
    }
    if !files.is_empty() {
        scope = Scope::Files(files);
    }
    (scope, rest)
}

/// The path that a word means: one of the project's, by its whole path or its last part, or one that looks like
/// a source file.
fn path_of(word: &str, conversation: &Conversation) -> Option<String> {
    let word = word.trim();
    let shown = conversation.documents.iter().map(|document| document.path.as_str());
    let known: Vec<&str> = shown.chain(conversation.tree.iter().map(String::as_str)).collect();
    let is_last_part = |path: &&&str| path.rsplit('/').next() == Some(word);
    if let Some(path) = known.iter().find(|path| **path == word) {
        return Some((*path).to_owned());
    }
    let looks_like_path = word.contains('.') && !word.contains(char::is_whitespace);
    if let Some(path) = known.iter().find(is_last_part).filter(|_| looks_like_path) {
        return Some((*path).to_owned());
    }
    let stem = word.rsplit_once('.').map_or("", |(stem, _)| stem);
    let plain = !stem.is_empty()
        && stem
            .chars()
            .all(|character| character.is_alphanumeric() || matches!(character, '_' | '-' | '/' | '.'));
    (plain && Language::of(word).is_some()).then(|| word.to_owned())
}

/// Names before and after each `to`.
fn pairs(tokens: &[Token]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        if token.kind == Kind::Break || token.is(&["and"]) {
            start = at + 1;
        } else if token.is(&["to", "into", "as", "->", "=>", "\u{2192}"]) {
            if let (Some(from), Some(to)) = (old_name(&tokens[start..at]), new_name(&tokens[at + 1..])) {
                pairs.push((from, to));
            }
            start = at + 1;
        }
    }
    pairs
}

/// The name nearest to the end. Words such as `value` are fillers beside a name, and names where there is none.
fn old_name(tokens: &[Token]) -> Option<String> {
    let usable =
        |token: &&Token| is_identifier(&token.text) && !token.is_in(KINDS) && !token.is_in(SMALL_WORDS);
    let named = tokens.iter().rev().find_map(Token::name);
    named.or_else(|| tokens.iter().rev().find(usable).map(|token| token.text.clone()))
}

/// The name nearest to the beginning.
fn new_name(tokens: &[Token]) -> Option<String> {
    let mut rest = tokens;
    while let [first, others @ ..] = rest {
        let introduces = first.is(&["be", "the", "new", "called", "named"])
            || (first.is(&["name", "variable", "function", "method", "class"])
                && others.first().is_some_and(|next| next.name().is_some()));
        if !introduces || others.is_empty() {
            break;
        }
        rest = others;
    }
    let first = rest.first()?;
    let text = first.text.trim().trim_end_matches("()");
    (first.kind != Kind::Break && is_identifier(text)).then(|| text.to_owned())
}

/// What is replaced with what: quoted texts, or else the words on both sides of `with`. And whether either was
/// quoted.
fn replacement(tokens: &[Token], prompt: &str) -> Option<(String, String, bool)> {
    let joins = |words: &[&str]| tokens.iter().position(|token| token.is(words));
    let middle = joins(&["with", "by", "->", "=>", "\u{2192}"]).or_else(|| joins(&["to", "into", "for"]))?;
    let side = |side: &[Token], skip: bool| {
        let skipped = side.iter().take_while(|token| skip && token.is_in(FILLERS)).count();
        // A word such as `a` may be all there is, and is meant then.
        let side =
            if skipped == side.len() { side.get(skipped.saturating_sub(1)..)? } else { &side[skipped..] };
        if let Some(quoted) = side.iter().find(|token| token.kind == Kind::Quoted) {
            return Some((quoted.text.clone(), true));
        }
        let (first, last) = (side.first()?, side.last()?);
        Some((prompt.get(first.start..last.end)?.to_owned(), false))
    };
    let (from, from_quoted) = side(&tokens[..middle], true)?;
    let (to, to_quoted) = side(&tokens[middle + 1..], false)?;
    Some((from, to, from_quoted || to_quoted))
}

fn tokens(prompt: &str) -> Vec<Token> {
    const QUOTES: [(char, char); 6] = [
        ('`', '`'),
        ('"', '"'),
        ('\'', '\''),
        ('\u{201c}', '\u{201d}'),
        ('\u{2018}', '\u{2019}'),
        ('\u{ab}', '\u{bb}'),
    ];
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(character) = prompt[at..].chars().next() {
        let push_break = |tokens: &mut Vec<Token>, at: usize| {
            tokens.push(Token { kind: Kind::Break, text: String::new(), start: at, end: at });
        };
        if character.is_whitespace() {
            if character == '\n' {
                push_break(&mut tokens, at);
            }
            at += character.len_utf8();
            continue;
        }
        if let Some((open, close)) = QUOTES.iter().find(|(open, _)| *open == character) {
            let inside = at + open.len_utf8();
            if let Some(length) = closing_quote(&prompt[inside..], *close) {
                let end = inside + length + close.len_utf8();
                let text = prompt[inside..inside + length].to_owned();
                tokens.push(Token { kind: Kind::Quoted, text, start: at, end });
                at = end;
                continue;
            }
        }
        let length = prompt[at..].find(char::is_whitespace).unwrap_or(prompt.len() - at);
        let word = &prompt[at..at + length];
        let bare = word.trim_end_matches([',', '.', ';', ':', '!', '?']);
        if !bare.is_empty() {
            let text = bare.to_owned();
            tokens.push(Token { kind: Kind::Word, text, start: at, end: at + bare.len() });
        }
        if bare.len() < word.len() {
            push_break(&mut tokens, at + bare.len());
        }
        at += length;
    }
    tokens
}

/// The length of a quotation: its end is followed by white space, punctuation, or nothing.
fn closing_quote(text: &str, close: char) -> Option<usize> {
    text.match_indices(close).map(|(at, _)| at).find(|at| {
        let after = text[at + close.len_utf8()..].chars().next();
        *at > 0 && !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::conversation::Document;

    fn wishes(prompt: &str) -> Vec<Wish> {
        let lines = vec!["def load(path):".to_owned(), "    return path".to_owned()];
        let document = Document {
            path: "src/main.py".into(),
            lines,
            open: true,
            first_line: 1,
            shows_end: true,
            again: false,
        };
        read(&Conversation {
            documents: vec![document],
            tree: vec!["src/main.py".into(), "src/other.py".into()],
            prompt: prompt.into(),
            ..Conversation::default()
        })
    }

    fn rename(from: &str, to: &str, scope: Scope) -> Wish {
        Wish::Rename { pairs: vec![(from.into(), to.into())], scope }
    }

    #[test]
    fn renames_are_understood_in_many_wordings() {
        for prompt in [
            "rename total to subtotal",
            "Rename `total` to `subtotal`.",
            "please rename the variable \"total\" to \"subtotal\"",
            "Could you rename total() into subtotal()?",
            "rename total -> subtotal",
            "Rename the function total as subtotal, please",
            "change the name of total to subtotal",
            "rename all occurrences of total to subtotal in this file",
            "rename 'total' to be called 'subtotal'",
        ] {
            assert_eq!(wishes(prompt), [rename("total", "subtotal", Scope::Open)], "{prompt}");
        }
        for prompt in [
            "rename total to subtotal everywhere",
            "rename total to subtotal in all files",
            "Rename total to subtotal in every document.",
            "rename total to subtotal across the whole project",
        ] {
            assert_eq!(wishes(prompt), [rename("total", "subtotal", Scope::Everywhere)], "{prompt}");
        }
        let files = Scope::Files(vec!["src/other.py".into()]);
        assert_eq!(wishes("rename total to subtotal in other.py"), [rename("total", "subtotal", files)]);
    }

    #[test]
    fn names_that_are_also_words_can_be_renamed() {
        for (prompt, from, to) in [
            ("rename value to amount", "value", "amount"),
            ("rename the parameter name to title", "name", "title"),
            ("rename the value field to amount", "value", "amount"),
            ("rename x to name for clarity", "x", "name"),
            ("rename total to the name subtotal", "total", "subtotal"),
            ("rename a to b", "a", "b"),
        ] {
            assert_eq!(wishes(prompt), [rename(from, to, Scope::Open)], "{prompt}");
        }
    }

    #[test]
    fn several_wishes_in_one_prompt_are_all_read() {
        assert_eq!(
            wishes("Rename a to b, then remove the function load and add docstrings."),
            [
                rename("a", "b", Scope::Open),
                Wish::Remove { names: vec!["load".into()], scope: Scope::Open },
                Wish::Comment { names: vec![], scope: Scope::Open },
            ]
        );
        let pairs = vec![("a".into(), "b".into()), ("c".into(), "d".into())];
        assert_eq!(wishes("rename a to b and c to d"), [Wish::Rename { pairs, scope: Scope::Open }]);
    }

    #[test]
    fn replacements_keep_their_text() {
        let replace =
            |from: &str, to: &str, scope| vec![Wish::Replace { from: from.into(), to: to.into(), scope }];
        let cases = [
            ("replace foo with bar", "foo", "bar", Scope::Open),
            (
                "replace \"Hello, world\" with \"Good day\" everywhere",
                "Hello, world",
                "Good day",
                Scope::Everywhere,
            ),
            ("Replace all occurrences of the text `a == b` by `a is b`.", "a == b", "a is b", Scope::Open),
            ("replace x + 1 with x + 2 in all files", "x + 1", "x + 2", Scope::Everywhere),
            ("change \"it's\" to 'its'", "it's", "its", Scope::Open),
        ];
        for (prompt, from, to, scope) in cases {
            assert_eq!(wishes(prompt), replace(from, to, scope), "{prompt}");
        }
        let change = Wish::Change { from: "a".into(), to: "b".into(), scope: Scope::Open };
        assert_eq!(wishes("change a to b"), [change]);
    }

    #[test]
    fn comments_removals_and_questions_are_told_apart() {
        for prompt in [
            "add docstrings",
            "Document all functions",
            "add doc comments to every function",
            "write documentation",
        ] {
            assert_eq!(wishes(prompt), [Wish::Comment { names: vec![], scope: Scope::Open }], "{prompt}");
        }
        let one = Wish::Comment { names: vec!["load".into()], scope: Scope::Open };
        assert_eq!(wishes("document the function load"), [one]);
        for prompt in ["explain this", "What does this do?", "please explain the selected code"] {
            assert_eq!(wishes(prompt), [Wish::Explain], "{prompt}");
        }
        for prompt in ["", "make it faster", "hello", "rename it", "don't worry"] {
            assert_eq!(wishes(prompt), [Wish::Unknown], "{prompt}");
        }
    }

    #[test]
    fn well_known_functions_are_found_by_their_names() {
        let find = |prompt: &str| match wishes(prompt).remove(0) {
            Wish::Add { function, name, scope } => (function.name(Language::Python), name, scope),
            other => panic!("{prompt}: {other:?}"),
        };
        for (prompt, name) in [
            ("add a fizzbuzz function", "fizzbuzz"),
            ("Write a function that checks whether a number is prime", "is_prime"),
            ("implement binary search", "binary_search"),
            ("please create a quicksort", "quicksort"),
            ("greatest common divisor", "gcd"),
        ] {
            assert_eq!(find(prompt), (name.to_owned(), None, Scope::Open), "{prompt}");
        }
        let named = find("add a factorial function named fact");
        assert_eq!(named, ("factorial".into(), Some("fact".into()), Scope::Open));
        let into = find("add gcd to other.py");
        assert_eq!(into.2, Scope::Files(vec!["src/other.py".into()]));
    }
}

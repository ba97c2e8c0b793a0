//! Functions of JavaScript and TypeScript.

use std::ops::Range;

use super::{Code, Function, Parameter, indent_of};

/// Words that may stand before a method's name.
const MODIFIERS: [&str; 11] = [
    "public",
    "private",
    "protected",
    "static",
    "async",
    "get",
    "set",
    "override",
    "readonly",
    "abstract",
    "declare",
];
/// Words that are followed by brackets and are no methods.
const KEYWORDS: [&str; 11] =
    ["if", "for", "while", "switch", "catch", "function", "return", "with", "super", "new", "await"];

pub(super) fn functions(code: &Code) -> Vec<Function> {
    let in_class = class_bodies(code);
    (0..code.line_count()).filter_map(|line| function_at(code, line, in_class[line])).collect()
}

/// For each line, whether it begins directly in the body of a class.
fn class_bodies(code: &Code) -> Vec<bool> {
    let mut open: Vec<bool> = Vec::new();
    let mut statement = 0;
    let mut lines = Vec::with_capacity(code.line_count());
    let mut line = 0;
    for at in 0..code.masked.len() {
        while code.starts.get(line) == Some(&at) {
            lines.push(open.last().copied().unwrap_or(false));
            line += 1;
        }
        match code.masked[at] {
            '(' | '[' => open.push(false),
            '{' => {
                let text: String = code.masked[statement..at].iter().collect();
                let is_class = text
                    .split_whitespace()
                    .find(|word| !matches!(*word, "export" | "default" | "abstract" | "declare"))
                    .is_some_and(|word| word == "class");
                open.push(is_class);
                statement = at + 1;
            }
            ')' | ']' => {
                open.pop();
            }
            '}' => {
                open.pop();
                statement = at + 1;
            }
            ';' => statement = at + 1,
            _ => {}
        }
    }
    lines.resize(code.line_count(), false);
    lines
}

/// What a function looks like from its name on.
struct Shape {
    name: String,
    parameters: Range<usize>,
    returns: Option<String>,
    /// Where its body begins, if it is in braces.
    brace: Option<usize>,
    /// The last position that belongs to it.
    end: usize,
    /// Whether it is an arrow whose value is an expression.
    is_expression: bool,
}

fn function_at(code: &Code, line: usize, in_class: bool) -> Option<Function> {
    let range = code.range(line);
    let start = code.skip_space(range.start);
    if start >= range.end {
        return None;
    }
    let shape = if in_class { method(code, start) } else { None }
        .or_else(|| declaration(code, start))
        .or_else(|| binding(code, start))?;
    let indent = indent_of(&code.raw_line(line)).to_owned();
    let end = code.line_of(shape.end);
    let mut head = line;
    while head > 0 && code.code_line(head - 1).trim_start().starts_with('@') {
        head -= 1;
    }
    let (top, documented) = match comment_above(code, head) {
        Some(top) => (top, true),
        None => (head, false),
    };
    let own = start..shape.end;
    Some(Function {
        top,
        head,
        line,
        body: shape.brace.map(|brace| code.line_of(brace) + 1).filter(|body| *body <= end),
        end,
        indent,
        parameters: parameters(code, shape.parameters),
        returns: shape.returns,
        returns_value: shape.is_expression || returns_value(code, own),
        documented,
        name: shape.name,
    })
}

/// `export default async function* name<T>(…): R {`
fn declaration(code: &Code, start: usize) -> Option<Shape> {
    let mut at = start;
    for word in ["export", "default", "declare", "async"] {
        if let Some(end) = code.word_at(at, word) {
            at = code.skip_space(end);
        }
    }
    at = code.skip_space(code.word_at(at, "function")?);
    if code.masked.get(at) == Some(&'*') {
        at = code.skip_space(at + 1);
    }
    let (name, end) = code.name_at(at)?;
    from_brackets(code, name, end)
}

/// A method in the body of a class.
fn method(code: &Code, start: usize) -> Option<Shape> {
    let mut at = start;
    loop {
        while matches!(code.masked.get(at), Some('*' | '#')) {
            at += 1;
        }
        let (name, end) = code.name_at(at)?;
        let next = code.skip_space(end);
        if MODIFIERS.contains(&name.as_str()) && !matches!(code.masked.get(next), Some('(' | '<' | '=' | ':'))
        {
            at = next;
            continue;
        }
        if KEYWORDS.contains(&name.as_str()) || !matches!(code.masked.get(next), Some('(' | '<')) {
            return None;
        }
        return from_brackets(code, name, end);
    }
}

/// From behind the name: type parameters, brackets, a type, a body in braces.
fn from_brackets(code: &Code, name: String, from: usize) -> Option<Shape> {
    let open = (from..code.masked.len()).find(|at| code.masked[*at] == '(')?;
    let between: String = code.masked[from..open].iter().collect();
    if !(between.trim().is_empty() || between.trim_start().starts_with('<')) {
        return None;
    }
    let close = code.matching(open)?;
    let (returns, brace) = type_and_brace(code, close + 1)?;
    Some(Shape {
        name,
        parameters: open + 1..close,
        returns,
        brace: Some(brace),
        end: code.matching(brace)?,
        is_expression: false,
    })
}

/// `: R {`, where the type may itself be an object in braces.
fn type_and_brace(code: &Code, from: usize) -> Option<(Option<String>, usize)> {
    let at = code.skip_space(from);
    if code.masked.get(at) == Some(&'{') {
        return Some((None, at));
    }
    if code.masked.get(at) != Some(&':') {
        return None;
    }
    let kind = code.skip_space(at + 1);
    let from = if code.masked.get(kind) == Some(&'{') { code.matching(kind)? + 1 } else { kind };
    let brace = code.find_outside(from, &['{', ';'])?;
    (code.masked[brace] == '{').then(|| (Some(code.raw_text(kind..brace)), brace))
}

/// `export const name = async (…) => …` or `= function (…) {`
fn binding(code: &Code, start: usize) -> Option<Shape> {
    let mut at = start;
    if let Some(end) = code.word_at(at, "export") {
        at = code.skip_space(end);
    }
    let after = ["const", "let", "var"].iter().find_map(|word| code.word_at(at, word))?;
    let (name, end) = code.name_at(code.skip_space(after))?;
    // A type before the equals sign may hold an arrow of its own; such a binding is left alone.
    let mut at = code.skip_space(end);
    if code.masked.get(at) != Some(&'=') || code.masked.get(at + 1) == Some(&'=') {
        return None;
    }
    at = code.skip_space(at + 1);
    if let Some(end) = code.word_at(at, "async") {
        at = code.skip_space(end);
    }
    if let Some(end) = code.word_at(at, "function") {
        let mut shape = from_brackets(code, name, skip_own_name(code, end))?;
        shape.end = with_semicolon(code, shape.end);
        return Some(shape);
    }
    let (parameters, after) = if code.masked.get(at) == Some(&'(') {
        let close = code.matching(at)?;
        (at + 1..close, close + 1)
    } else {
        let (_, end) = code.name_at(at)?;
        (at..end, end)
    };
    let next = code.skip_space(after);
    let (returns, arrow) = if code.masked.get(next) == Some(&':') {
        let arrow = find_arrow(code, next)?;
        (Some(code.raw_text(next + 1..arrow)), arrow)
    } else {
        (None, next)
    };
    if code.masked.get(arrow..arrow + 2) != Some(&['=', '>']) {
        return None;
    }
    let body = code.skip_space(arrow + 2);
    if code.masked.get(body) == Some(&'{') {
        let end = with_semicolon(code, code.matching(body)?);
        return Some(Shape { name, parameters, returns, brace: Some(body), end, is_expression: false });
    }
    let end = expression_end(code, body)?;
    Some(Shape { name, parameters, returns, brace: None, end, is_expression: true })
}

fn skip_own_name(code: &Code, from: usize) -> usize {
    code.name_at(code.skip_space(from)).map_or(from, |(_, end)| end)
}

fn find_arrow(code: &Code, from: usize) -> Option<usize> {
    let mut at = from;
    while at < code.masked.len() {
        let equals = code.find_outside(at, &['=', ';'])?;
        if code.masked[equals] == ';' {
            return None;
        }
        if code.masked.get(equals + 1) == Some(&'>') {
            return Some(equals);
        }
        at = equals + 1;
    }
    None
}

fn with_semicolon(code: &Code, end: usize) -> usize {
    let next = code.skip_space(end + 1);
    if code.masked.get(next) == Some(&';') && code.line_of(next) == code.line_of(end) { next } else { end }
}

/// The end of an expression: a semicolon, or the end of a line that nothing continues.
fn expression_end(code: &Code, from: usize) -> Option<usize> {
    let mut at = from;
    while at < code.masked.len() {
        match code.masked[at] {
            ';' => return Some(at),
            '(' | '[' | '{' => at = code.matching(at)?,
            ')' | ']' | '}' | ',' => return Some(at.saturating_sub(1)),
            '\n' => {
                let next = code.skip_space(at);
                let goes_on = matches!(code.masked.get(next), Some('.' | '?' | ':' | '+' | '*' | '&' | '|'));
                if !goes_on {
                    return Some(at.saturating_sub(1));
                }
            }
            _ => {}
        }
        at += 1;
    }
    Some(code.masked.len().saturating_sub(2))
}

/// Where the block comment directly above a line begins.
fn comment_above(code: &Code, line: usize) -> Option<usize> {
    let last = line.checked_sub(1)?;
    if !code.raw_line(last).trim_end().ends_with("*/") {
        return None;
    }
    (0..=last)
        .rev()
        .find(|candidate| code.raw_line(*candidate).contains("/*"))
        .filter(|candidate| code.raw_line(*candidate).trim_start().starts_with("/*"))
}

fn returns_value(code: &Code, range: Range<usize>) -> bool {
    let mut at = range.start;
    while at < range.end {
        match code.name_at(at) {
            Some((word, end)) => {
                let next = (end..range.end).find(|next| code.masked[*next] != ' ');
                if word == "return" && next.is_some_and(|next| !matches!(code.masked[next], ';' | '\n' | '}'))
                {
                    return true;
                }
                at = end;
            }
            None => at += 1,
        }
    }
    false
}

fn parameters(code: &Code, range: Range<usize>) -> Vec<Parameter> {
    let mut found = Vec::new();
    for part in code.split_commas(range, true) {
        let mut start = code.skip_space(part.start);
        let rest = code.masked.get(start..start + 3) == Some(&['.', '.', '.']);
        if rest {
            start += 3;
        }
        // TypeScript lets a constructor declare properties.
        while let Some((word, end)) =
            code.name_at(start).filter(|(word, _)| MODIFIERS.contains(&word.as_str()))
        {
            let next = code.skip_space(end);
            if next >= part.end || code.name_at(next).is_none() {
                break;
            }
            let _ = word;
            start = next;
        }
        // A pattern has no name of its own.
        let Some((name, name_end)) = code.name_at(start).filter(|_| start < part.end) else { continue };
        if name == "this" {
            continue;
        }
        let equals = (name_end..part.end)
            .find(|at| code.masked[*at] == '=' && !matches!(code.masked.get(at + 1), Some('>' | '=')));
        let colon = (name_end..equals.unwrap_or(part.end)).find(|at| code.masked[*at] == ':');
        found.push(Parameter {
            name,
            kind: colon.map(|colon| code.raw_text(colon + 1..equals.unwrap_or(part.end))),
            default: equals.map(|equals| code.raw_text(equals + 1..part.end)),
            rest,
        });
    }
    found
}

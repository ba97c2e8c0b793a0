//! Functions of Rust.

use std::ops::Range;

use super::{Code, Function, Parameter, indent_of};

pub(super) fn functions(code: &Code) -> Vec<Function> {
    (0..code.line_count()).filter_map(|line| function_at(code, line)).collect()
}

fn function_at(code: &Code, line: usize) -> Option<Function> {
    let range = code.range(line);
    let mut at = code.skip_space(range.start);
    if at >= range.end {
        return None;
    }
    loop {
        let (word, end) = code.name_at(at)?;
        let mut next = code.skip_space(end);
        match word.as_str() {
            "fn" => {
                at = next;
                break;
            }
            "pub" => {
                if code.masked.get(next) == Some(&'(') {
                    next = code.skip_space(code.matching(next)? + 1);
                }
            }
            "default" | "const" | "async" | "unsafe" => {}
            "extern" => {
                while code.masked.get(next) == Some(&'"') {
                    next += 1;
                }
                next = code.skip_space(next);
            }
            _ => return None,
        }
        at = next;
    }
    let (name, name_end) = code.name_at(at)?;
    let open = (name_end..code.masked.len())
        .find(|at| code.masked[*at] == '(' && !in_angles(code, name_end, *at))?;
    let close = code.matching(open)?;
    let body = code.find_outside(close + 1, &['{', ';'])?;
    let end = if code.masked[body] == '{' { code.matching(body)? } else { body };
    let tail = code.raw_text(close + 1..body);
    let returns =
        tail.strip_prefix("->").map(|kind| kind.split(" where ").next().unwrap_or(kind).trim().to_owned());
    let (head, top, documented) = above(code, line);
    Some(Function {
        name,
        top,
        head,
        line,
        body: (code.masked[body] == '{')
            .then(|| code.line_of(body) + 1)
            .filter(|body| *body <= code.line_of(end)),
        end: code.line_of(end),
        indent: indent_of(&code.raw_line(line)).to_owned(),
        parameters: parameters(code, open + 1..close),
        returns_value: returns.as_deref().is_some_and(|kind| kind != "()" && kind != "!"),
        returns,
        documented,
    })
}

/// Whether a position lies in the type parameters behind a name.
fn in_angles(code: &Code, from: usize, at: usize) -> bool {
    let mut depth = 0_i32;
    for position in from..at {
        match code.masked[position] {
            '<' => depth += 1,
            '>' if code.masked[position - 1] != '-' => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}

/// Where the attributes above a function begin, where its documentation begins, and whether there is any.
fn above(code: &Code, line: usize) -> (usize, usize, bool) {
    let mut head = line;
    let mut top = line;
    let mut documented = false;
    while top > 0 {
        let text = code.raw_line(top - 1);
        let text = text.trim();
        if text.starts_with("///") || text.starts_with("#[doc") {
            documented = true;
        } else if text.ends_with("*/") {
            let Some(begin) = (0..top).rev().find(|line| code.raw_line(*line).contains("/*")) else { break };
            if !code.raw_line(begin).trim_start().starts_with("/**") {
                break;
            }
            documented = true;
            top = begin + 1;
        } else if text.starts_with("#[") && text.ends_with(']') {
            if !documented {
                head = top - 1;
            }
        } else {
            break;
        }
        top -= 1;
    }
    (head, top, documented)
}

fn parameters(code: &Code, range: Range<usize>) -> Vec<Parameter> {
    let mut found = Vec::new();
    for part in code.split_commas(range, true) {
        let mut start = code.skip_space(part.start);
        if let Some(end) = code.word_at(start, "mut") {
            start = code.skip_space(end);
        }
        // `&self` and patterns have no name of their own.
        let Some((name, name_end)) = code.name_at(start).filter(|_| start < part.end) else { continue };
        if name == "self" {
            continue;
        }
        let colon = code.skip_space(name_end);
        if colon >= part.end || code.masked[colon] != ':' {
            continue;
        }
        let kind = Some(code.raw_text(colon + 1..part.end));
        found.push(Parameter { name, kind, default: None, rest: false });
    }
    found
}

//! Functions of Python.

use std::ops::Range;

use super::{Code, Function, Parameter, indent_of};

pub(super) fn functions(code: &Code) -> Vec<Function> {
    let depths = depths(code);
    let mut found = Vec::new();
    for line in 0..code.line_count() {
        if depths[line] == 0
            && let Some(function) = function_at(code, line, &depths)
        {
            found.push(function);
        }
    }
    found
}

/// How many brackets are open at the start of each line.
fn depths(code: &Code) -> Vec<usize> {
    let mut depth = 0_usize;
    (0..code.line_count())
        .map(|line| {
            let before = depth;
            for character in code.code_line(line).chars() {
                match character {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            before
        })
        .collect()
}

fn function_at(code: &Code, line: usize, depths: &[usize]) -> Option<Function> {
    let start = code.skip_space(code.starts[line]);
    if start >= code.range(line).end {
        return None;
    }
    let after = match code.word_at(start, "async") {
        Some(end) => code.skip_space(end),
        None => start,
    };
    let name_start = code.skip_space(code.word_at(after, "def")?);
    let (name, name_end) = code.name_at(name_start)?;
    let open = code.find_outside(name_end, &['('])?;
    let close = code.matching(open)?;
    let colon = code.find_outside(close + 1, &[':'])?;
    let arrow = code.raw_text(close + 1..colon);
    let returns = arrow.strip_prefix("->").map(|kind| kind.trim().to_owned());
    let indent = indent_of(&code.raw_line(line)).to_owned();
    let signature_end = code.line_of(colon);
    let same_line = code.skip_space(colon + 1) < code.range(signature_end).end;
    let (body, end, documented) = if same_line {
        (None, signature_end, false)
    } else {
        let body =
            (signature_end + 1..code.line_count()).find(|line| !code.code_line(*line).trim().is_empty())?;
        if !is_deeper(&code.raw_line(body), &indent) {
            return None;
        }
        let mut end = body;
        for (next, depth) in depths.iter().enumerate().skip(body) {
            // A line inside a string or brackets may begin anywhere.
            let continues = *depth > 0 || code.begins_inside(next);
            let text = code.code_line(next);
            if text.trim().is_empty() {
                continue;
            }
            if !continues && !is_deeper(&code.raw_line(next), &indent) {
                break;
            }
            end = next;
        }
        (Some(body), end, begins_with_string(&code.raw_line(body)))
    };
    let mut top = line;
    while top > 0 && code.code_line(top - 1).trim_start().starts_with('@') {
        top -= 1;
    }
    let own = code.starts[line]..code.range(end).end;
    Some(Function {
        name,
        top,
        head: top,
        line,
        body,
        end,
        indent,
        parameters: parameters(code, open + 1..close),
        returns,
        returns_value: returns_value(code, own),
        documented,
    })
}

fn is_deeper(line: &str, indent: &str) -> bool {
    let own = indent_of(line);
    own.len() > indent.len() && own.starts_with(indent)
}

fn begins_with_string(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['r', 'R', 'u', 'U', 'b', 'B', 'f', 'F']);
    text.starts_with(['"', '\''])
}

fn returns_value(code: &Code, range: Range<usize>) -> bool {
    let mut at = range.start;
    while at < range.end {
        match code.name_at(at) {
            Some((word, end)) => {
                if word == "return" || word == "yield" {
                    let next = (end..range.end).find(|next| code.masked[*next] != ' ');
                    if next.is_some_and(|next| !matches!(code.masked[next], '\n' | ';')) {
                        let value = next.and_then(|next| code.name_at(next)).map(|(name, _)| name);
                        if value.as_deref() != Some("None") {
                            return true;
                        }
                    }
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
    for (position, part) in code.split_commas(range, false).into_iter().enumerate() {
        let mut start = code.skip_space(part.start);
        let stars = (start..part.end).take_while(|at| code.masked[*at] == '*').count();
        start += stars;
        let Some((name, name_end)) = code.name_at(start).filter(|_| start < part.end) else { continue };
        if position == 0 && matches!(name.as_str(), "self" | "cls") {
            continue;
        }
        let equals = (name_end..part.end).find(|at| code.masked[*at] == '=');
        let colon = (name_end..equals.unwrap_or(part.end)).find(|at| code.masked[*at] == ':');
        let text = |from: usize, to: usize| code.raw_text(from..to);
        found.push(Parameter {
            name: format!("{}{name}", "*".repeat(stars)),
            kind: colon.map(|colon| text(colon + 1, equals.unwrap_or(part.end))),
            default: equals.map(|equals| text(equals + 1, part.end)),
            rest: stars > 0,
        });
    }
    found
}

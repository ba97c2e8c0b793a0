use super::*;

fn names(language: Language, text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    functions(language, &lines)
        .into_iter()
        .map(|function| (function.name, function.line, function.end))
        .collect()
}

#[test]
fn functions_end_where_their_code_ends() {
    let python = "def a():\n    '''\nx\n    '''\n    return (\n1)\n\n# after\nasync def b(x=lambda y: (y)):\n    pass\n";
    assert_eq!(names(Language::Python, python), [("a".into(), 0, 5), ("b".into(), 8, 9)]);
    let javascript = "function a() { return /[}/]/; }\nconst b = x =>\n  x\n    .y();\nexport default async function* c() {\n}\nif (x) {\n}\n";
    assert_eq!(
        names(Language::JavaScript, javascript),
        [("a".into(), 0, 0), ("b".into(), 1, 3), ("c".into(), 4, 5)]
    );
    let rust = "fn a<F: Fn(u8) -> u8>(f: F) -> [u8; 2] {\n    r#\"}\"#; '}'; /* } /* } */ */\n}\ntrait T {\n    fn b(&self);\n}\n";
    assert_eq!(names(Language::Rust, rust), [("a".into(), 0, 2), ("b".into(), 4, 4)]);
}

#[test]
fn unfinished_code_is_no_trouble() {
    for text in [
        "def",
        "def f(",
        "def f(x",
        "def f(x):",
        "fn f(",
        "fn f() {",
        "function f(",
        "class A { m(",
        "const a = (",
        "'",
        "\"\"\"",
        "`${",
        "/*",
        "'\\",
    ] {
        for language in [Language::Python, Language::JavaScript, Language::TypeScript, Language::Rust] {
            let _ = names(language, text);
            let _ = names(language, &format!("{text}\n\n"));
        }
    }
}

//! The program itself: what it prints, and how it stops.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

struct Program(Child);

impl Program {
    fn start(data: &TempDir, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ensemble"));
        let variables: Vec<_> = std::env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| name.to_string_lossy().starts_with("ENSEMBLE_") || name == "OPENAI_API_KEY")
            .collect();
        for name in variables {
            command.env_remove(name);
        }
        // A folder of its own, so that no configuration file is found.
        command.current_dir(data.path()).args(arguments);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn line(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap());
        let mut line = String::new();
        // One byte at a time would be slow, but a line is all there is yet.
        lines.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap().success());
    }

    /// Exit code and what was said on standard error.
    fn end(mut self) -> (i32, String) {
        let code = self.0.wait().unwrap().code().unwrap_or(-1);
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_says_where_it_is_and_stops_when_told() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Program::start(&data, &["--listen", "127.0.0.1:0", "--data", "kept"]);
    let line = server.line();
    let url = line.strip_prefix("Ensemble is ready at ").unwrap_or_else(|| panic!("{line}"));
    assert!(url.starts_with("http://localhost:") && !url.ends_with(":0"), "{url}");
    assert!(data.path().join("kept").exists());

    let second = Program::start(&data, &["serve", "--listen", "127.0.0.1:0", "--data", "kept"]);
    let (code, said) = second.end();
    assert_eq!(code, 1);
    assert!(said.contains("in use by another process"), "{said}");

    server.terminate();
    let (code, said) = server.end();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_every_reason() {
    let data = tempfile::tempdir().unwrap();
    let arguments =
        ["serve", "--listen", "here", "--database-url", "postgres://a:hunter2@b/c", "--bus-url", "nats://x"];
    let (code, said) = Program::start(&data, &arguments).end();
    assert_eq!(code, 1);
    for part in ["--listen", "--database-url", "--bus-url"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    let (code, _) = Program::start(&data, &["serve", "--config", "missing.toml"]).end();
    assert_eq!(code, 1);
}

#[test]
fn the_small_commands_work() {
    let data = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["version"][..], "ensemble "),
        (&["migrate", "--data", "kept"], "applied "),
        (&["doctor", "--data", "kept"], "configuration: fine"),
    ] {
        let mut program = Program::start(&data, arguments);
        let line = program.line();
        assert!(line.starts_with(said), "{line}");
        assert_eq!(program.end().0, 0);
    }
}

/// One request over a connection of its own; status and body.
fn ask(url: &str, request: &str, token: Option<&str>, body: &str) -> (u16, String) {
    let address = url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let mut stream = TcpStream::connect(&address).unwrap();
    let authorization = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\n{authorization}content-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// [D23] A backup of a server at work, restored into another folder, serves what was there.
#[test]
fn a_backup_of_a_server_at_work_is_served_again() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Program::start(&data, &["--listen", "127.0.0.1:0", "--data", "kept"]);
    let url = server.line().strip_prefix("Ensemble is ready at ").unwrap().to_owned();
    let (_, made) =
        ask(&url, "POST /api/v1/projects", None, r#"{"name":"P","template":"empty","your_name":"Ada"}"#);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let (project, token) = (made["project"]["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let documents = format!("/api/v1/projects/{project}/documents");
    let new = r#"{"path":"a.txt","text":"kept"}"#;
    let (status, document) = ask(&url, &format!("POST {documents}"), Some(token), new);
    assert_eq!(status, 201, "{document}");
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let text = format!("GET {documents}/{}/text", document["id"].as_str().unwrap());

    let mut backup = Program::start(&data, &["backup", "copy.db", "--data", "kept"]);
    let line = backup.line();
    assert!(line.contains("copy.db` holds "), "{line}");
    assert_eq!(backup.end().0, 0);
    let (code, said) = Program::start(&data, &["restore", "copy.db", "--data", "kept", "--replace"]).end();
    assert_eq!(code, 1, "a database in use is left alone: {said}");
    server.terminate();
    server.end();
    let (code, said) = Program::start(&data, &["restore", "copy.db", "--data", "kept"]).end();
    assert_eq!(code, 1, "a database that is there is left alone: {said}");

    let (code, said) = Program::start(&data, &["restore", "copy.db", "--data", "again"]).end();
    assert_eq!(code, 0, "{said}");
    let mut server = Program::start(&data, &["--listen", "127.0.0.1:0", "--data", "again"]);
    let url = server.line().strip_prefix("Ensemble is ready at ").unwrap().to_owned();
    assert_eq!(ask(&url, &text, Some(token), ""), (200, "kept".to_owned()));
}

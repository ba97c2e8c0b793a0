//! Server-sent events: bytes in, the data of each event out.

use bytes::Bytes;

use crate::ModelError;

/// The longest event or line, in bytes. The largest real event is a complete item of some hundred kilobytes.
const EVENT_SIZE: usize = 16 * 1024 * 1024;

/// Splits a stream of bytes into events, wherever the pieces were cut.
///
/// Only `data` fields matter here: event names repeat what the JSON says, ids and retry times are for
/// reconnecting, which a model's answer cannot. Lines end with LF, CR or both.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    after_cr: bool,
    past_start: bool,
}

impl SseParser {
    /// Takes the next bytes and adds the data of every event that they complete.
    pub(crate) fn feed(&mut self, bytes: &Bytes, events: &mut Vec<String>) -> Result<(), ModelError> {
        for &byte in bytes {
            let follows_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    self.end_line(events)?;
                }
                _ => {
                    if self.line.len() >= EVENT_SIZE {
                        return Err(too_large());
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(())
    }

    /// The stream is over: an event whose lines are complete counts even without its empty line.
    pub(crate) fn end(&mut self) -> Option<String> {
        (self.line.is_empty() && std::mem::take(&mut self.has_data)).then(|| std::mem::take(&mut self.data))
    }

    fn end_line(&mut self, events: &mut Vec<String>) -> Result<(), ModelError> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line)
            .map_err(|_| ModelError::Malformed { reason: "a line is not UTF-8".into() })?;
        let text = if self.past_start { text } else { text.strip_prefix('\u{feff}').unwrap_or(text) };
        self.past_start = true;
        if text.is_empty() {
            if std::mem::take(&mut self.has_data) {
                events.push(std::mem::take(&mut self.data));
            }
        } else if let Some(value) =
            text.strip_prefix("data").filter(|rest| rest.is_empty() || rest.starts_with(':'))
        {
            let value = value.strip_prefix(':').unwrap_or(value);
            let value = value.strip_prefix(' ').unwrap_or(value);
            if self.data.len() + value.len() > EVENT_SIZE {
                return Err(too_large());
            }
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push('\n');
            }
            self.data.push_str(value);
        }
        // The buffer is reused: a stream has many short lines.
        self.line = line;
        self.line.clear();
        Ok(())
    }
}

fn too_large() -> ModelError {
    ModelError::Malformed { reason: "an event is too large".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8], piece: usize) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for chunk in text.chunks(piece) {
            parser.feed(&Bytes::copy_from_slice(chunk), &mut events).unwrap();
        }
        events.extend(parser.end());
        events
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let cases: [(&str, &[&str]); 7] = [
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            (
                "\u{feff}event: x\r\ndata: \u{1f642}\u{e9}\r\n\r\ndata:[DONE]\r\n\r\n",
                &["\u{1f642}\u{e9}", "[DONE]"],
            ),
            (": comment\ndata: one\ndata: two\n\n", &["one\ntwo"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("data: whole\n", &["whole"]),
            ("data: {\"cut", &[]),
            ("dataset: no\nid: 1\n\n\n", &[]),
        ];
        for (text, expected) in cases {
            for piece in 1..=text.len() {
                assert_eq!(parse(text.as_bytes(), piece), expected, "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let mut parser = SseParser::default();
        assert!(parser.feed(&Bytes::from_static(b"data: \xff\n\n"), &mut Vec::new()).is_err());
    }
}

//! JSON while it arrives: strings in pieces, everything else as it completes.

/// How deep values may nest; the arguments of a tool have four levels.
const MAX_DEPTH: usize = 32;

/// The longest name of a member that is told apart from others, in bytes; longer ones are cut.
const MAX_KEY_BYTES: usize = 64;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JsonEvent {
    ObjectBegan,
    ObjectEnded,
    ArrayBegan,
    ArrayEnded,
    /// The name of the member whose value follows.
    Key(String),
    /// A piece of a string.
    Text(String),
    /// The string is complete.
    TextEnded,
    /// A number, `true`, `false` or `null`.
    Scalar,
}

/// Text that is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotJson(pub(super) &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Object,
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In front of a value.
    Value,
    /// In front of a member or the end of an object.
    Member,
    /// Between the name of a member and its value.
    Colon,
    /// Behind a value.
    Behind,
    String(Escape),
    Scalar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind a backslash.
    Began,
    /// In `\uXXXX`: the digits so far and their value.
    Unicode(u8, u16),
}

/// The incremental reader. Several values may follow each other.
#[derive(Debug)]
pub(super) struct JsonReader {
    stack: Vec<Level>,
    state: State,
    /// The name of a member that is arriving; `None` in other strings.
    key: Option<String>,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

impl JsonReader {
    pub(super) fn new() -> Self {
        Self { stack: Vec::new(), state: State::Value, key: None, high: None }
    }

    /// Whether a value has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.stack.is_empty() || matches!(self.state, State::String(_) | State::Scalar)
    }

    /// Takes more text; after an error nothing more can be read.
    pub(super) fn feed(&mut self, text: &str, events: &mut Vec<JsonEvent>) -> Result<(), NotJson> {
        for character in text.chars() {
            self.take(character, events)?;
        }
        Ok(())
    }

    fn take(&mut self, character: char, events: &mut Vec<JsonEvent>) -> Result<(), NotJson> {
        match self.state {
            State::String(escape) => return self.take_in_string(character, escape, events),
            State::Scalar if character.is_alphanumeric() || matches!(character, '.' | '+' | '-') => {
                return Ok(());
            }
            State::Scalar => {
                events.push(JsonEvent::Scalar);
                self.state = State::Behind;
            }
            _ => {}
        }
        if matches!(character, ' ' | '\t' | '\r' | '\n') {
            return Ok(());
        }
        if self.state == State::Behind && self.stack.is_empty() {
            self.state = State::Value;
        }
        match (self.state, character) {
            (State::Value, '{') => self.open(Level::Object, events)?,
            (State::Value, '[') => self.open(Level::Array, events)?,
            (State::Value, '"') => self.state = State::String(Escape::None),
            (State::Value, '-' | '0'..='9' | 't' | 'f' | 'n') => self.state = State::Scalar,
            (State::Member, '"') => {
                self.key = Some(String::new());
                self.state = State::String(Escape::None);
            }
            (State::Member | State::Behind, '}') => self.close(Level::Object, events)?,
            // A comma in front of the end is forgiven.
            (State::Value | State::Behind, ']') => self.close(Level::Array, events)?,
            (State::Colon, ':') => self.state = State::Value,
            (State::Behind, ',') => match self.stack.last() {
                Some(Level::Object) => self.state = State::Member,
                _ => self.state = State::Value,
            },
            (State::Value, _) => return Err(NotJson("expected a value")),
            (State::Member, _) => return Err(NotJson("expected the name of a member")),
            (State::Colon, _) => return Err(NotJson("expected `:`")),
            _ => return Err(NotJson("expected `,` or an end")),
        }
        Ok(())
    }

    fn open(&mut self, level: Level, events: &mut Vec<JsonEvent>) -> Result<(), NotJson> {
        if self.stack.len() == MAX_DEPTH {
            return Err(NotJson("the values nest too deep"));
        }
        self.stack.push(level);
        let (state, event) = match level {
            Level::Object => (State::Member, JsonEvent::ObjectBegan),
            Level::Array => (State::Value, JsonEvent::ArrayBegan),
        };
        self.state = state;
        events.push(event);
        Ok(())
    }

    fn close(&mut self, level: Level, events: &mut Vec<JsonEvent>) -> Result<(), NotJson> {
        if self.stack.pop() != Some(level) {
            return Err(NotJson("a bracket closes that was not opened"));
        }
        self.state = State::Behind;
        events.push(match level {
            Level::Object => JsonEvent::ObjectEnded,
            Level::Array => JsonEvent::ArrayEnded,
        });
        Ok(())
    }

    fn take_in_string(
        &mut self,
        character: char,
        escape: Escape,
        events: &mut Vec<JsonEvent>,
    ) -> Result<(), NotJson> {
        let mut next = Escape::None;
        match (escape, character) {
            (Escape::None, '"') => {
                self.drop_half_pair(events);
                self.state = State::Behind;
                if let Some(key) = self.key.take() {
                    self.state = State::Colon;
                    events.push(JsonEvent::Key(key));
                } else {
                    events.push(JsonEvent::TextEnded);
                }
                return Ok(());
            }
            (Escape::None, '\\') => next = Escape::Began,
            // Line breaks inside strings are not JSON, but their meaning is clear.
            (Escape::None, other) => self.text(other, events),
            (Escape::Began, 'u') => next = Escape::Unicode(0, 0),
            (Escape::Began, letter) => {
                let meant = match letter {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    '"' | '\\' | '/' => letter,
                    _ => return Err(NotJson("an unknown escape in a string")),
                };
                self.text(meant, events);
            }
            (Escape::Unicode(digits, value), digit) => {
                let Some(digit) = digit.to_digit(16) else {
                    return Err(NotJson("`\\u` is followed by four hexadecimal digits"));
                };
                let value = value << 4 | digit as u16;
                if digits < 3 {
                    next = Escape::Unicode(digits + 1, value);
                } else {
                    self.unit(value, events);
                }
            }
        }
        self.state = State::String(next);
        Ok(())
    }

    /// Takes a UTF-16 unit; a half of a pair that stands alone becomes a replacement character.
    fn unit(&mut self, unit: u16, events: &mut Vec<JsonEvent>) {
        if let Some(high) = self.high {
            if let Some(Ok(character)) = char::decode_utf16([high, unit]).next() {
                self.high = None;
                self.text(character, events);
                return;
            }
            self.drop_half_pair(events);
        }
        match unit {
            0xD800..=0xDBFF => self.high = Some(unit),
            unit => self.text(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER), events),
        }
    }

    fn drop_half_pair(&mut self, events: &mut Vec<JsonEvent>) {
        if self.high.take().is_some() {
            self.text(char::REPLACEMENT_CHARACTER, events);
        }
    }

    fn text(&mut self, character: char, events: &mut Vec<JsonEvent>) {
        if self.high.take().is_some() {
            self.text(char::REPLACEMENT_CHARACTER, events);
        }
        if let Some(key) = &mut self.key {
            if key.len() < MAX_KEY_BYTES {
                key.push(character);
            }
        } else if let Some(JsonEvent::Text(text)) = events.last_mut() {
            text.push(character);
        } else {
            events.push(JsonEvent::Text(character.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, step: usize) -> Result<Vec<JsonEvent>, NotJson> {
        let mut reader = JsonReader::new();
        let mut all = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(step) {
            let mut events = Vec::new();
            reader.feed(&piece.iter().collect::<String>(), &mut events)?;
            for event in events {
                match (all.last_mut(), event) {
                    (Some(JsonEvent::Text(before)), JsonEvent::Text(more)) => before.push_str(&more),
                    (_, event) => all.push(event),
                }
            }
        }
        Ok(all)
    }

    #[test]
    fn strings_arrive_in_pieces_and_escapes_may_be_cut() {
        use JsonEvent::{ArrayBegan, ArrayEnded, Key, ObjectBegan, ObjectEnded, Scalar, Text, TextEnded};
        let text =
            r#"{"a\n": "x\u00e9\ud83d\ude00\"\\\/y\ud800z\ude00", "b":[1.5e3,null,true,],"c":{}, "":""}"#;
        let expected = vec![
            ObjectBegan,
            Key("a\n".into()),
            Text("xé😀\"\\/y\u{fffd}z\u{fffd}".into()),
            TextEnded,
            Key("b".into()),
            ArrayBegan,
            Scalar,
            Scalar,
            Scalar,
            ArrayEnded,
            Key("c".into()),
            ObjectBegan,
            ObjectEnded,
            Key(String::new()),
            TextEnded,
            ObjectEnded,
        ];
        for step in [1, 2, 3, 5, 1000] {
            assert_eq!(read(text, step).unwrap(), expected, "by {step}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["x", "{1", "{\"a\" 1}", "[1 2]", "]", "{\"a\":\"\\x\"}", "[\"\\u12g4\"]", "[}"] {
            assert!(read(text, 1).is_err(), "{text}");
        }
        assert!(read(&"[".repeat(MAX_DEPTH + 1), 7).is_err());
        assert_eq!(read(&format!("{{\"{}\":1}}", "k".repeat(500)), 7).unwrap().len(), 4);
    }
}

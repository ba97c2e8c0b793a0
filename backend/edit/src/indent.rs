//! Indentation: lines a model wrote at another depth than the text has them.

/// The blanks a line begins with.
pub(crate) fn indent_of(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// A model's indentation and the one the text has at the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    model: String,
    text: String,
}

impl Shift {
    /// The shift two lines show that agree but for blanks; `None` for lines without text.
    pub(crate) fn between(model: &str, text: &str) -> Option<Self> {
        (!model.trim().is_empty() && !text.trim().is_empty())
            .then(|| Self { model: indent_of(model).to_owned(), text: indent_of(text).to_owned() })
    }

    /// A further line of the model as the text would have it.
    ///
    /// Depth below or above the known line is kept; where the text uses tabs and the model spaces, or the
    /// other way round, it is counted in the unit the known line shows.
    pub(crate) fn apply(&self, line: &str) -> String {
        let indent = indent_of(line);
        let rest = &line[indent.len()..];
        if self.model == self.text || rest.trim().is_empty() {
            return line.to_owned();
        }
        if let Some((from, to)) = self.units() {
            let mut columns = indent.replace('\t', &" ".repeat(from)).len();
            // Counted in the text's own unit, and what is less than one stays spaces.
            let mut result = String::new();
            while columns >= from {
                result.push_str(&to);
                columns -= from;
            }
            return result + &" ".repeat(columns) + rest;
        }
        if let Some(deeper) = indent.strip_prefix(self.model.as_str()) {
            return format!("{}{deeper}{rest}", self.text);
        }
        if let Some(less) = self.model.strip_prefix(indent) {
            // The text is indented deeper than the model by the same amount here, as far as there is any.
            let kept = self.text.strip_suffix(less).unwrap_or_default();
            return format!("{kept}{rest}");
        }
        line.to_owned()
    }

    /// How many spaces of the model make one unit of the text, where one uses tabs and the other spaces.
    fn units(&self) -> Option<(usize, String)> {
        let is_all = |text: &str, blank: char| !text.is_empty() && text.chars().all(|one| one == blank);
        let (model, text) = (self.model.len(), self.text.len());
        if is_all(&self.model, ' ') && is_all(&self.text, '\t') && model.is_multiple_of(text) {
            Some((model / text, "\t".to_owned()))
        } else if is_all(&self.model, '\t') && is_all(&self.text, ' ') && text.is_multiple_of(model) {
            Some((text / model, " ".repeat(text / model)))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_take_the_depth_of_the_text() {
        for (model, text, line, expected) in [
            ("x", "    x", "y", "    y"),
            ("x", "    x", "    y", "        y"),
            ("    x", "x", "        y", "    y"),
            ("        x", "            x", "    y", "        y"),
            ("    x", "  x", "y", "y"),
            ("    x", "\tx", "        y", "\t\ty"),
            ("    x", "\tx", "      y", "\t  y"),
            ("\tx", "    x", "\t\ty", "        y"),
            ("  x", "  x", "\ty", "\ty"),
            ("x", "  x", "", ""),
        ] {
            let shift = Shift::between(model, text).unwrap();
            assert_eq!(shift.apply(line), expected, "{model:?} {text:?} {line:?}");
        }
        assert_eq!(Shift::between("", "  "), None);
    }
}

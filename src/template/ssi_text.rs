//! Text in the parameters of SSI, with `$name` in it (language reference, section 10). Read once; what the variables hold is
//! asked of whoever evaluates.

use bytes::Bytes;

/// Text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SsiText(Vec<SsiPiece>);

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SsiPiece {
    /// Bytes as they are.
    Literal(Bytes),
    /// `$name` or `${name}`, as it is written.
    Variable(Bytes),
}

impl SsiText {
    /// Reads a parameter's value as it stands between its quotes: `\` before the quote, `\` or `$` makes it literal.
    pub(super) fn parse(value: &[u8], quote: u8) -> Self {
        let mut reader = TextReader::default();
        let mut rest = value;
        while let [first, tail @ ..] = rest {
            rest = match (*first, tail) {
                (b'\\', [escaped, more @ ..])
                    if matches!(escaped, b'\\' | b'$') || *escaped == quote =>
                {
                    reader.literal.push(*escaped);
                    more
                }
                (b'$', _) => reader.dollar(tail),
                (byte, _) => {
                    reader.literal.push(byte);
                    tail
                }
            };
        }
        reader.finish()
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[SsiPiece] {
        &self.0
    }

    /// The text, when it has no variables.
    pub fn as_literal(&self) -> Option<Bytes> {
        match &self.0[..] {
            [] => Some(Bytes::new()),
            [SsiPiece::Literal(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }
}

/// Collects pieces.
#[derive(Default)]
pub(super) struct TextReader {
    pub(super) pieces: Vec<SsiPiece>,
    pub(super) literal: Vec<u8>,
}

impl TextReader {
    /// Behind a `$`: takes the variable's name, if one follows; gives what is left.
    pub(super) fn dollar<'t>(&mut self, tail: &'t [u8]) -> &'t [u8] {
        let braced = tail.first() == Some(&b'{');
        let name = &tail[usize::from(braced)..];
        let length = name
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let whole = length > 0 && (!braced || name.get(length) == Some(&b'}'));
        if !whole {
            self.literal.push(b'$');
            return tail;
        }
        self.flush();
        self.pieces
            .push(SsiPiece::Variable(Bytes::copy_from_slice(&name[..length])));
        &name[length + usize::from(braced)..]
    }

    pub(super) fn flush(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal);
            self.pieces.push(SsiPiece::Literal(literal.into()));
        }
    }

    pub(super) fn finish(mut self) -> SsiText {
        self.flush();
        SsiText(self.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &SsiText) -> String {
        text.pieces()
            .iter()
            .map(|piece| match piece {
                SsiPiece::Literal(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                SsiPiece::Variable(name) => format!("<{}>", String::from_utf8_lossy(name)),
            })
            .collect()
    }

    #[test]
    fn variables_are_found_in_text() {
        let rows = [
            ("[$a][${a}y]", "[<a>][<a>y]"),
            ("$", "$"),
            ("a$ b$-", "a$ b$-"),
            ("${a", "${a"),
            ("${}", "${}"),
            (r"\$a\", r"$a\"),
            (r#"\"\$a\x\\"#, r#""$a\x\"#),
            ("$a1_B.", "<a1_B>."),
        ];
        for (text, wanted) in rows {
            let text = text.replace(r"\\", r"\");
            assert_eq!(
                shown(&SsiText::parse(text.as_bytes(), b'"')),
                wanted.replace(r"\\", r"\"),
                "{text}"
            );
        }
    }
}

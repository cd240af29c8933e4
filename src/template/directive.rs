//! The grammar of one SSI directive, `<!--#name param="value" … -->` (language reference, section 10).

use bytes::Bytes;

use super::grammar::Writing;
use super::issue::DirectiveFault;
use super::json;

/// A directive that keeps the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// The command as it is written.
    pub(super) command: Bytes,
    /// Name, and value as it stands between its quotes; in order of writing.
    pub(super) parameters: Vec<Parameter>,
    /// Behind its `-->`.
    pub(super) end: usize,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: Bytes,
    /// Escapes still in it.
    pub(super) value: Bytes,
    pub(super) quote: u8,
}

/// Where and why a directive breaks the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) fault: DirectiveFault,
}

const MOST_PARAMETERS: usize = 16;

/// Reads the directive whose `<!--#` ends at `at`. A value whose quote does not come within `longest` bytes breaks the
/// grammar at its opening quote: the byte that has no partner.
pub(super) fn read(
    document: &Bytes,
    at: usize,
    longest: usize,
    writing: Writing,
) -> Result<Directive, Broken> {
    let mut cursor = Cursor {
        document,
        at,
        limit: at.saturating_add(longest),
        writing,
    };
    cursor.skip_space();
    let command = cursor.word()?;
    let mut parameters = Vec::new();
    loop {
        let spaced = cursor.skip_space();
        if let Some(end) = cursor.comment_end() {
            return Ok(Directive {
                command,
                parameters,
                end,
            });
        }
        if !spaced {
            return Err(cursor.broken());
        }
        if parameters.len() == MOST_PARAMETERS {
            return Err(Broken {
                at: cursor.at,
                fault: DirectiveFault::TooManyParameters,
            });
        }
        parameters.push(cursor.parameter()?);
    }
}

struct Cursor<'d> {
    document: &'d Bytes,
    at: usize,
    limit: usize,
    writing: Writing,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<(u8, usize)> {
        if self.at >= self.limit {
            return None;
        }
        self.writing.character(self.document, self.at)
    }

    fn broken(&self) -> Broken {
        Broken {
            at: self.at,
            fault: DirectiveFault::Grammar,
        }
    }

    fn skip_space(&mut self) -> bool {
        let start = self.at;
        while let Some((b' ' | b'\t' | b'\r' | b'\n', next)) = self.peek() {
            self.at = next;
        }
        self.at > start
    }

    /// Behind the `-->` that stands here.
    fn comment_end(&self) -> Option<usize> {
        self.document[self.at..]
            .starts_with(b"-->")
            .then_some(self.at + 3)
    }

    fn word(&mut self) -> Result<Bytes, Broken> {
        let start = self.at;
        while let Some((byte, next)) = self.peek() {
            if !(byte.is_ascii_alphanumeric() || byte == b'_') {
                break;
            }
            self.at = next;
        }
        if self.at == start {
            return Err(self.broken());
        }
        Ok(self.taken(start, self.at))
    }

    fn parameter(&mut self) -> Result<Parameter, Broken> {
        let name = self.word()?;
        self.skip_space();
        match self.peek() {
            Some((b'=', next)) => self.at = next,
            _ => return Err(self.broken()),
        }
        self.skip_space();
        let opening = self.broken();
        let quote = match self.peek() {
            Some((quote @ (b'"' | b'\''), next)) => {
                self.at = next;
                quote
            }
            _ => return Err(opening),
        };
        let start = self.at;
        loop {
            let Some((byte, next)) = self.peek() else {
                return Err(opening);
            };
            if byte == quote {
                let value = self.taken(start, self.at);
                self.at = next;
                return Ok(Parameter { name, value, quote });
            }
            self.at = next;
            if byte == b'\\' {
                // Whatever follows does not end the value.
                let Some((_, next)) = self.peek() else {
                    return Err(opening);
                };
                self.at = next;
            }
        }
    }

    fn taken(&self, start: usize, end: usize) -> Bytes {
        match self.writing {
            Writing::Plain => self.document.slice(start..end),
            Writing::JsonString => json::unescape(&self.document[start..end]).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_plain(text: &str) -> Result<Directive, Broken> {
        read(
            &Bytes::copy_from_slice(text.as_bytes()),
            5,
            1000,
            Writing::Plain,
        )
    }

    #[test]
    fn directives_are_read() {
        type Row = (
            &'static str,
            &'static str,
            &'static [(&'static str, &'static str)],
        );
        let rows: [Row; 6] = [
            ("<!--#else -->x", "else", &[]),
            ("<!--#endif-->", "endif", &[]),
            (
                "<!--# include virtual=\"/a?x=1&y\" -->",
                "include",
                &[("virtual", "/a?x=1&y")],
            ),
            (
                "<!--#echo var='a'\n default = \"-->\"-->",
                "echo",
                &[("var", "a"), ("default", "-->")],
            ),
            (
                r#"<!--#set var="a" value="\"\\\$x\y" -->"#,
                "set",
                &[("var", "a"), ("value", r#"\"\\\$x\y"#)],
            ),
            ("<!--#frobnicate x=\"1\" -->", "frobnicate", &[("x", "1")]),
        ];
        for (text, command, parameters) in rows {
            let directive = read_plain(text).expect("a directive");
            assert_eq!(directive.command, command, "{text}");
            let read: Vec<_> = directive
                .parameters
                .iter()
                .map(|p| (&p.name[..], &p.value[..]))
                .collect();
            let wanted: Vec<_> = parameters
                .iter()
                .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
                .collect();
            assert_eq!(read, wanted, "{text}");
            assert!(text[..directive.end].ends_with("-->"));
        }
    }

    #[test]
    fn the_first_byte_that_breaks_the_grammar_is_told() {
        let rows = [
            ("<!--#-->", 5),
            ("<!--#[if x]-->", 5),
            ("<!--#echo var -->", 14),
            ("<!--#echo var=a -->", 14),
            ("<!--#echo var=\"a\"b=\"c\" -->", 17),
            ("<!--#echo var=\"a -->", 14),
            ("<!--#echo -- >", 10),
            ("<!--#echo", 9),
        ];
        for (text, at) in rows {
            assert_eq!(read_plain(text).expect_err("broken").at, at, "{text}");
        }
        let many = " p=\"\"".repeat(17);
        let broken = read_plain(&format!("<!--#echo{many} -->")).expect_err("17 parameters");
        assert_eq!(broken.fault, DirectiveFault::TooManyParameters);
    }
}

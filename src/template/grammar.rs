//! Where a tag ends: the grammar of tags as an automaton over bytes (language reference, section 3).
//!
//! A tag that fails costs the bytes it was read for, and scanning goes on close behind its opener. So that a hostile document
//! cannot make the same bytes be read for thousands of failing tags, the reader remembers the boundaries between attributes at
//! which failed readings stood, and how each of them went on: two readings in the same state at the same byte have the same
//! future. Each byte is so read once for each state at most.

use std::collections::HashMap;

use memchr::memchr;

use super::issue::TagFault;
use super::json;

/// The end of a start or end tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TagEnd {
    /// Behind the name.
    pub(super) name_end: usize,
    /// Behind the last attribute, before `/>` or `>`.
    pub(super) attributes_end: usize,
    /// Behind the `>`.
    pub(super) end: usize,
    /// Whether `/` stands before the `>`.
    pub(super) closed: bool,
}

/// How the bytes of a tag are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// As they are.
    Plain,
    /// With the escapes of a JSON string.
    JsonString,
}

impl Writing {
    /// The character at `at` and where the next one starts.
    pub(super) fn character(self, document: &[u8], at: usize) -> Option<(u8, usize)> {
        match self {
            Self::Plain => document.get(at).map(|byte| (*byte, at + 1)),
            Self::JsonString => json::character(document, at),
        }
    }
}

/// Reads tags of one document.
#[derive(Debug)]
pub(super) struct TagReader<'d> {
    document: &'d [u8],
    longest: usize,
    /// Boundaries where failed readings stood -> which failure.
    dead: HashMap<usize, usize>,
    failures: Vec<Failure>,
    /// Bytes that were looked at; tests hold it against the length of the document.
    pub(super) steps: usize,
}

/// How a failed reading ended.
#[derive(Debug, Clone, Copy)]
enum Failure {
    /// Whoever comes here fails too.
    Dead(TagFault),
    /// It had become too long here, in this state; a later opener may come farther.
    Open(usize, State),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Attributes may follow, or the end.
    Between,
    /// In an attribute's name.
    Name,
    /// White space behind an attribute's name; `=` may follow.
    AfterName,
    /// Behind `=`.
    BeforeValue,
    /// In a value that this quote ends.
    Quoted(u8),
    /// In a value without quotes: whether it is one byte long so far, and whether its last byte is `/`.
    Unquoted { single: bool, slash: bool },
    /// Behind a `/` that must be followed by `>`.
    Slash,
}

enum Step {
    To(State),
    End { closed: bool },
    Broken,
}

/// Boundaries nearer to the opener than this are not remembered: tags of common length then cost nothing.
const REMEMBERED_FROM: usize = 64;

impl<'d> TagReader<'d> {
    pub(super) fn new(document: &'d [u8], longest: usize) -> Self {
        Self {
            document,
            longest,
            dead: HashMap::new(),
            failures: Vec::new(),
            steps: 0,
        }
    }

    /// The end of the end tag that starts at `start`, its name at `name`.
    pub(super) fn end_tag(
        &mut self,
        start: usize,
        name: usize,
        writing: Writing,
    ) -> Result<TagEnd, TagFault> {
        let name_end = self.name_end(name, writing)?;
        let mut at = name_end;
        loop {
            let (byte, next) = self.character(at, start, writing)?;
            match byte {
                b'>' => {
                    return Ok(TagEnd {
                        name_end,
                        attributes_end: at,
                        end: next,
                        closed: false,
                    });
                }
                b' ' | b'\t' | b'\r' | b'\n' => at = next,
                _ => return Err(TagFault::Grammar),
            }
        }
    }

    /// The end of the start tag that starts at `start`, its name at `name`.
    pub(super) fn start_tag(
        &mut self,
        start: usize,
        name: usize,
        writing: Writing,
    ) -> Result<TagEnd, TagFault> {
        let name_end = self.name_end(name, writing)?;
        // What may stand behind the name is what may stand behind an attribute's value, but for a letter, and letters
        // belong to the name.
        let (mut at, mut state) = (name_end, State::Between);
        let mut attributes_end = name_end;
        let mut boundaries = Vec::new();
        let mut known = None;
        let mut entered = true;
        let fault = loop {
            if entered {
                if let Some(failure) = self.dead.get(&at).copied() {
                    // Two failures that meet are one from here on.
                    if let Some(earlier) = known.replace(failure) {
                        self.failures[earlier] = Failure::Open(at, State::Between);
                    }
                    match self.failures[failure] {
                        Failure::Dead(fault) => break Ok(fault),
                        Failure::Open(position, then) => (at, state) = (position, then),
                    }
                } else if at - start > REMEMBERED_FROM {
                    boundaries.push(at);
                }
            }
            if let (State::Quoted(quote), Writing::Plain) = (state, writing) {
                at = self.quote(at, start, quote);
            }
            let (byte, next) = match self.character(at, start, writing) {
                Ok(read) => read,
                Err(TagFault::TooLong(_)) => break Err((at, state)),
                Err(fault) => break Ok(fault),
            };
            if state != State::Slash {
                attributes_end = at;
            }
            match step(state, byte) {
                Step::To(following) => {
                    entered = following == State::Between && state != State::Between;
                    (at, state) = (next, following);
                }
                Step::End { closed } => {
                    // A `/` behind an unquoted value was read as part of it.
                    if closed && matches!(state, State::Unquoted { .. }) {
                        attributes_end -= if writing == Writing::JsonString
                            && self.document[at - 2..at] == *b"\\/"
                        {
                            2
                        } else {
                            1
                        };
                    }
                    return Ok(TagEnd {
                        name_end,
                        attributes_end,
                        end: next,
                        closed,
                    });
                }
                Step::Broken => break Ok(TagFault::Grammar),
            }
        };
        self.remember(start, boundaries, known, fault);
        Err(match fault {
            Ok(fault) => fault,
            Err(_) => TagFault::TooLong(self.longest),
        })
    }

    fn remember(
        &mut self,
        start: usize,
        boundaries: Vec<usize>,
        known: Option<usize>,
        fault: Result<TagFault, (usize, State)>,
    ) {
        let failure = match fault {
            Ok(fault) => Failure::Dead(fault),
            Err((at, state)) => Failure::Open(at, state),
        };
        if boundaries.is_empty() && known.is_none() {
            return;
        }
        self.forget_behind(start);
        let index = known.unwrap_or(self.failures.len());
        match self.failures.get_mut(index) {
            Some(slot) => *slot = failure,
            None => self.failures.push(failure),
        }
        self.dead
            .extend(boundaries.into_iter().map(|at| (at, index)));
    }

    /// No reading comes back to what lies before the opener at hand.
    fn forget_behind(&mut self, start: usize) {
        if self.dead.len() > 2 * self.longest {
            self.dead.retain(|at, _| *at >= start);
        }
    }

    fn name_end(&mut self, name: usize, writing: Writing) -> Result<usize, TagFault> {
        let mut at = name;
        loop {
            let (byte, next) = self.character(at, name, writing)?;
            let fits = if at == name {
                byte.is_ascii_alphabetic()
            } else {
                is_name_byte(byte)
            };
            if !fits {
                return if at == name {
                    Err(TagFault::Grammar)
                } else {
                    Ok(at)
                };
            }
            at = next;
        }
    }

    /// The first place from `at` on that a quoted value does not simply go on over: its quote, or the end of what is read.
    fn quote(&mut self, at: usize, start: usize, quote: u8) -> usize {
        let end = start.saturating_add(self.longest).min(self.document.len());
        let value = self.document.get(at..end).unwrap_or_default();
        let length = memchr(quote, value).unwrap_or(value.len());
        self.steps += length;
        at + length
    }

    fn character(
        &mut self,
        at: usize,
        start: usize,
        writing: Writing,
    ) -> Result<(u8, usize), TagFault> {
        self.steps += 1;
        if at - start >= self.longest {
            return Err(TagFault::TooLong(self.longest));
        }
        writing
            .character(self.document, at)
            .ok_or(if at >= self.document.len() {
                TagFault::Unfinished
            } else {
                TagFault::Grammar
            })
    }
}

fn step(state: State, byte: u8) -> Step {
    let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    match state {
        State::Quoted(quote) if byte == quote => Step::To(State::Between),
        State::Quoted(_) => Step::To(state),
        State::Unquoted { single, slash } => unquoted(single, slash, byte, space),
        State::BeforeValue => match byte {
            b'>' => Step::Broken,
            b'"' | b'\'' => Step::To(State::Quoted(byte)),
            _ if space => Step::To(state),
            _ => Step::To(State::Unquoted {
                single: true,
                slash: byte == b'/',
            }),
        },
        State::Slash if byte == b'>' => Step::End { closed: true },
        State::Slash => Step::Broken,
        State::Between | State::Name | State::AfterName => outside_values(state, byte, space),
    }
}

fn unquoted(single: bool, slash: bool, byte: u8, space: bool) -> Step {
    match byte {
        b'"' | b'\'' => Step::Broken,
        // The `/` belongs to the tag's end, and the value would be empty.
        b'>' if single && slash => Step::Broken,
        b'>' => Step::End { closed: slash },
        _ if space => Step::To(State::Between),
        _ => Step::To(State::Unquoted {
            single: false,
            slash: byte == b'/',
        }),
    }
}

fn outside_values(state: State, byte: u8, space: bool) -> Step {
    match (byte, state) {
        (b'/', _) => Step::To(State::Slash),
        (b'>', _) => Step::End { closed: false },
        (b'=', State::Name | State::AfterName) => Step::To(State::BeforeValue),
        (_, State::Between) if space => Step::To(state),
        _ if space => Step::To(State::AfterName),
        (_, State::Name) if is_name_byte(byte) => Step::To(state),
        _ if byte.is_ascii_alphabetic() => Step::To(State::Name),
        _ => Step::Broken,
    }
}

/// Letters, digits, `_` and `-`.
pub(super) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str) -> Result<(usize, usize, bool), TagFault> {
        let mut reader = TagReader::new(text.as_bytes(), 100);
        let tag = reader.start_tag(0, 5, Writing::Plain)?;
        Ok((tag.attributes_end, tag.end, tag.closed))
    }

    #[test]
    fn start_tags_end_where_the_grammar_says() {
        let rows = [
            ("<esi:a>x", Ok((6, 7, false))),
            ("<esi:a/>", Ok((6, 8, true))),
            ("<esi:a \t\r\n/>", Ok((10, 12, true))),
            ("<esi:a b=\"/>\" c>", Ok((15, 16, false))),
            ("<esi:a b='\"'c=\"'\">", Ok((17, 18, false))),
            ("<esi:a b = x/y/>", Ok((14, 16, true))),
            ("<esi:a b=x/ >", Ok((12, 13, false))),
            ("<esi:a b=<x>", Ok((11, 12, false))),
            ("<esi:a-1_b b/>", Ok((12, 14, true))),
            ("<esi:>", Err(TagFault::Grammar)),
            ("<esi:1>", Err(TagFault::Grammar)),
            ("<esi:a/ >", Err(TagFault::Grammar)),
            ("<esi:a/b>", Err(TagFault::Grammar)),
            ("<esi:a b=>", Err(TagFault::Grammar)),
            ("<esi:a b=/>", Err(TagFault::Grammar)),
            ("<esi:a b=x'>", Err(TagFault::Grammar)),
            ("<esi:a \"b\">", Err(TagFault::Grammar)),
            ("<esi:a =b>", Err(TagFault::Grammar)),
            ("<esi:a b==c>", Ok((11, 12, false))),
            ("<esi:a 1=b>", Err(TagFault::Grammar)),
            ("<esi:a.b>", Err(TagFault::Grammar)),
            ("<esi:a b=\"x>", Err(TagFault::Unfinished)),
            ("<esi:a", Err(TagFault::Unfinished)),
        ];
        for (text, wanted) in rows {
            assert_eq!(start(text), wanted, "{text}");
        }
        let long = format!("<esi:a b='{}'>", "x".repeat(100));
        assert_eq!(start(&long), Err(TagFault::TooLong(100)));
        let fitting = format!("<esi:a b='{}'>", "x".repeat(88));
        assert_eq!(start(&fitting), Ok((99, 100, false)));
    }

    /// Documents in which thousands of tags begin that never end well: reading them costs a bounded number of steps a byte.
    #[test]
    fn failing_tags_are_read_in_linear_time() {
        let shapes: [&dyn Fn(usize) -> String; 7] = [
            &|n| format!("<esi:a b{n}=\">\" c{n}="),
            &|n| format!("<esi:a b{n}='>' "),
            &|n| format!("<esi:a b{n}=\"> ' \" c='"),
            &|n| format!("<esi:a b{n}=\"> \" c{n}='<esi:a d=\">\" ' "),
            &|_| "<esi:a \">\" ".to_owned(),
            &|n| format!("<esi:a b{n} > <esi:b c=\""),
            &|n| format!("<esi:x{n} a='>{}' <", " ".repeat(n % 50)),
        ];
        for shape in shapes {
            let document: String = (0..40_000).map(shape).collect();
            let mut reader = TagReader::new(document.as_bytes(), 64 * 1024);
            let mut at = 0;
            while let Some(found) = memchr::memmem::find(&document.as_bytes()[at..], b"<esi:") {
                let opener = at + found;
                at = match reader.start_tag(opener, opener + 5, Writing::Plain) {
                    Ok(tag) => tag.end,
                    Err(_) => match memchr::memchr(b'>', &document.as_bytes()[opener..]) {
                        Some(end) => opener + end + 1,
                        None => break,
                    },
                };
            }
            let steps = reader.steps / document.len();
            assert!(steps < 30, "{steps} steps a byte: {}", &document[..60]);
        }
    }
}

//! What is wrong in a document: the kind, and the byte where it stands. The document still composes.

use std::fmt;

use crate::expr::{AssignError, IssueKind as ExpressionIssue, ParseError};

/// Something wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Bytes from the start of the document.
    pub offset: usize,
    /// How many bytes it concerns, at least 1 where the document is not at its end.
    pub length: usize,
    /// What is wrong.
    pub kind: IssueKind,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueKind {
    /// A tag that breaks the grammar; it is dropped up to its first `>`.
    #[error("malformed tag: {0}")]
    MalformedTag(TagFault),
    /// An element that the language does not know; its tags are dropped, its content stays.
    #[error("unknown element esi:{0}")]
    UnknownElement(String),
    /// An end tag without its start; dropped.
    #[error("</esi:{0}> without its start tag")]
    StrayEnd(String),
    /// An element that the end of an outer one closes.
    #[error("{0} is closed by the end of an outer element")]
    ClosedByOuter(&'static str),
    /// An element without its end; its start tag is dropped, its content stays.
    #[error("{0} is never closed")]
    Unclosed(&'static str),
    /// `<!--esi` without `-->`; the opener is dropped.
    #[error("<!--esi without its -->")]
    UnclosedBlock,
    /// An element where it cannot stand; dropped with its content.
    #[error("{element} outside {parent}")]
    Misplaced {
        /// What stands there.
        element: &'static str,
        /// Where alone it can stand.
        parent: &'static str,
    },
    /// Something other than its branches directly inside `choose` or `try`; dropped.
    #[error("content directly inside {0} is dropped")]
    BetweenBranches(&'static str),
    /// A second `otherwise`, `attempt` or `except`; dropped with its content.
    #[error("a second {0} is dropped")]
    Second(&'static str),
    /// Elements nest deeper than the limit; dropped with its content.
    #[error("elements nest deeper than {0}")]
    Nesting(usize),
    /// An attribute that must be there is not.
    #[error("{element} without {attribute}")]
    MissingAttribute {
        /// The element or directive.
        element: &'static str,
        /// The attribute or parameter.
        attribute: &'static str,
    },
    /// An attribute's value that says nothing; the attribute is ignored.
    #[error("{attribute} accepts {accepted}")]
    BadValue {
        /// The attribute or parameter.
        attribute: &'static str,
        /// What it accepts.
        accepted: &'static str,
    },
    /// An expression that cannot be read.
    #[error("{0}")]
    Expression(ParseError),
    /// An expression that looks wrong.
    #[error("{0}")]
    Suspect(ExpressionIssue),
    /// A name that cannot be assigned.
    #[error("{0}")]
    Name(AssignError),
    /// A function that the language itself defines.
    #[error("${0} is built in and cannot be redefined")]
    BuiltInFunction(String),
    /// An include, eval or inline in the body of a function.
    #[error("{0} cannot stand in a function")]
    InFunction(&'static str),
    /// `break` or `return` where there is nothing to leave.
    #[error("{0} outside what it leaves")]
    NothingToLeave(&'static str),
    /// A directive of SSI that cannot be carried out; it emits the error message.
    #[error("{0}")]
    Directive(DirectiveFault),
    /// A document too large to be read for tags.
    #[error("documents of 4 GiB and more are not read for tags")]
    TooLarge,
    /// So many more issues were found than are kept.
    #[error("{0} more")]
    More(usize),
}

/// Why a tag is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagFault {
    /// The grammar breaks.
    Grammar,
    /// The same attribute twice.
    Duplicate,
    /// Longer than so many bytes.
    TooLong(usize),
    /// The document ends inside it.
    Unfinished,
}

impl fmt::Display for TagFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grammar => f.write_str("it breaks the grammar of tags"),
            Self::Duplicate => f.write_str("the same attribute twice"),
            Self::TooLong(limit) => write!(f, "longer than {limit} bytes"),
            Self::Unfinished => f.write_str("the document ends inside it"),
        }
    }
}

/// Why a directive of SSI is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveFault {
    /// The grammar breaks.
    #[error("the directive breaks its grammar")]
    Grammar,
    /// More than 16 parameters.
    #[error("the directive has more than 16 parameters")]
    TooManyParameters,
    /// No such command, or one that is refused.
    #[error("unknown directive #{0}")]
    Unknown(String),
    /// A parameter that the command does not take.
    #[error("#{command} takes no parameter {parameter}")]
    Parameter {
        /// The command.
        command: &'static str,
        /// The parameter.
        parameter: String,
    },
    /// The same parameter twice.
    #[error("#{command} has the same parameter twice")]
    Duplicate {
        /// The command.
        command: &'static str,
    },
    /// A parameter is missing.
    #[error("#{command} without {parameter}")]
    Missing {
        /// The command.
        command: &'static str,
        /// What must be there.
        parameter: &'static str,
    },
    /// Parameters that exclude each other.
    #[error("#{command} takes {parameters} not together")]
    Together {
        /// The command.
        command: &'static str,
        /// The two.
        parameters: &'static str,
    },
    /// A value that the parameter does not take.
    #[error("{parameter} of #{command} accepts {accepted}")]
    Value {
        /// The command.
        command: &'static str,
        /// The parameter.
        parameter: &'static str,
        /// What it accepts.
        accepted: &'static str,
    },
    /// `#elif`, `#else`, `#endif`, `#endblock` without its start.
    #[error("#{0} without its start")]
    Stray(&'static str),
    /// `#if` or `#block` without its end.
    #[error("#{0} is never closed")]
    Unclosed(&'static str),
    /// A condition that cannot be read.
    #[error("the condition cannot be read: {0}")]
    Condition(&'static str),
    /// A regular expression that does not compile.
    #[error("bad regular expression: {0}")]
    Pattern(String),
}

/// How many issues of one document are kept.
const KEPT: usize = 1000;

/// The issues of a document while it is compiled: in order of finding, only so many of them.
#[derive(Debug, Default)]
pub(super) struct Issues {
    kept: Vec<Issue>,
    more: usize,
}

impl Issues {
    pub(super) fn add(&mut self, offset: usize, length: usize, kind: IssueKind) {
        if self.kept.len() < KEPT {
            self.kept.push(Issue {
                offset,
                length,
                kind,
            });
        } else {
            self.more += 1;
        }
    }

    /// In the order of the document.
    pub(super) fn finish(mut self) -> Vec<Issue> {
        self.kept.sort_by_key(|issue| issue.offset);
        if self.more > 0 {
            let offset = self.kept.last().map_or(0, |issue| issue.offset);
            self.kept.push(Issue {
                offset,
                length: 1,
                kind: IssueKind::More(self.more),
            });
        }
        self.kept
    }
}

/// Line and column, both counted from 1, of a byte; columns count characters of valid UTF-8, else bytes.
pub fn line_and_column(document: &[u8], offset: usize) -> (usize, usize) {
    let before = &document[..offset.min(document.len())];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
    let column = match std::str::from_utf8(&before[start..]) {
        Ok(text) => text.chars().count(),
        Err(_) => before.len() - start,
    };
    (line, column + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let document = "a\nbü<esi:x\n".as_bytes();
        let rows = [
            (0, (1, 1)),
            (1, (1, 2)),
            (2, (2, 1)),
            (5, (2, 3)),
            (99, (3, 1)),
        ];
        for (offset, wanted) in rows {
            assert_eq!(line_and_column(document, offset), wanted, "at {offset}");
        }
        assert_eq!(line_and_column(b"\xff\xffx", 2), (1, 3));
    }

    #[test]
    fn only_so_many_issues_are_kept() {
        let mut issues = Issues::default();
        for offset in (0..KEPT + 5).rev() {
            issues.add(offset, 1, IssueKind::UnclosedBlock);
        }
        let kept = issues.finish();
        assert_eq!(kept.len(), KEPT + 1);
        assert!(kept.is_sorted_by_key(|issue| issue.offset));
        assert_eq!(kept[KEPT].kind, IssueKind::More(5));
    }
}

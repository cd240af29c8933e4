//! A parsed expression: read once, evaluated for every request, never changed.

use std::sync::Arc;

use super::error::{EvalError, ParseError};
use super::eval;
use super::functions::Subject;
use super::host::Host;
use super::limits::Limits;
use super::name::Name;
use super::program::{Program, Step, Writer};
use super::reader::Reader;
use super::scope::Scope;
use super::seen::Seen;
use super::value::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expr {
    steps: Program,
    issues: Option<Box<[Issue]>>,
}

/// A variable or function that an expression names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// `$(NAME…)`.
    Variable(&'a Name),
    /// `$name(…)` of a built-in function.
    BuiltIn(&'static str),
    /// `$name(…)` of a function that the document must define.
    Own(&'a Name),
}

/// What looks wrong in an expression that can be parsed; it still evaluates, perhaps to a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Bytes from the start of the text.
    pub offset: usize,
    /// What looks wrong.
    pub kind: IssueKind,
}

/// What looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueKind {
    /// No built-in function; the document may define it, which the caller knows.
    #[error("unknown function ${name}{}", nearest.map(|known| format!("; ${known} is known")).unwrap_or_default())]
    NotBuiltIn {
        /// As it is written.
        name: Name,
        /// The built-in name that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// This part fails whenever it is evaluated.
    #[error("{0}")]
    Fails(EvalError),
}

impl Expr {
    /// Reads an expression.
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Self, ParseError> {
        Reader::new(limits).expression(text)
    }

    /// Its value in this scope.
    pub fn evaluate(&self, scope: &mut Scope, host: &mut dyn Host) -> Result<Value, EvalError> {
        eval::run(&self.steps, None, scope, host)
    }

    /// What it is worth, in its place, where it is a constant or a single reference; none where more is to be done.
    #[inline]
    pub fn see<'s>(&'s self, scope: &'s Scope) -> Option<Seen<'s>> {
        eval::see(&self.steps, scope)
    }

    /// Whether a test on it succeeds. Captures of `matches` go to the variable `captures` (`matchname`), else to `MATCHES`.
    pub fn test(
        &self,
        captures: Option<&Name>,
        scope: &mut Scope,
        host: &mut dyn Host,
    ) -> Result<bool, EvalError> {
        eval::run(&self.steps, captures, scope, host).map(|value| value.is_true())
    }

    /// Its value, when it depends on nothing.
    pub fn as_constant(&self) -> Option<&Value> {
        match &self.steps[..] {
            [Step::Constant(value)] => Some(value),
            _ => None,
        }
    }

    /// The variables and functions that it names, in the order of evaluation, each as often as it stands there. Calls that
    /// were folded away, because their result is always the same, are not among them.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        self.steps.iter().filter_map(|step| match step {
            Step::Read { name, .. } => Some(Reference::Variable(name)),
            Step::CallBuiltIn(function, _) => Some(Reference::BuiltIn(function.name)),
            Step::CallOwn(name, _) => Some(Reference::Own(name)),
            _ => None,
        })
    }

    /// Bytes of memory that it holds beside its own; of a program that others share, its part.
    pub fn weight(&self) -> usize {
        let held = self.steps.iter().map(Step::weight).sum::<usize>();
        let steps = match &self.steps {
            Program::One(_) => held,
            Program::Many(steps) => {
                let shared = size_of_val(&**steps) + 2 * size_of::<usize>() + held;
                shared.div_ceil(Arc::strong_count(steps))
            }
        };
        steps + size_of_val(self.issues())
    }

    /// Its program.
    #[cfg(test)]
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What looks wrong in it.
    pub fn issues(&self) -> &[Issue] {
        self.issues.as_deref().unwrap_or_default()
    }

    /// Whether evaluating it may change more than its value: it calls a function that changes the response, or one of the
    /// document's, which may do anything.
    pub fn has_effects(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::CallBuiltIn(function, _) => function.subject == Subject::Response,
            Step::CallOwn(..) => true,
            _ => false,
        })
    }
}

impl From<Step> for Expr {
    fn from(step: Step) -> Self {
        Self {
            steps: Program::One(step),
            issues: None,
        }
    }
}

impl From<&mut Writer<'_>> for Expr {
    fn from(writer: &mut Writer<'_>) -> Self {
        let (steps, issues) = writer.finish();
        Self { steps, issues }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::ParseErrorKind;

    fn parsed(text: &str) -> Expr {
        Expr::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn a_parsed_expression_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Expr>();
        shared::<crate::expr::Interpolation>();
        shared::<crate::expr::Target>();
    }

    #[test]
    fn what_depends_on_nothing_is_folded() {
        for (text, expected) in [
            ("2 + 3 * 4", Some("14")),
            ("!('a' == 'b')", Some("true")),
            ("$upper('a' + 'b')", Some("AB")),
            ("['a', 1 + 1]", Some("a,2")),
            ("$dollar()", Some("$")),
            ("1 / 0", None),
            ("$time()", None),
            ("[1..9999]", None),
            (
                "$replace('aaaaaaaaaa', 'a', '0123456789012345678901234567890123456789')",
                None,
            ),
            ("$(x|1)", None),
        ] {
            let text_form = parsed(text)
                .as_constant()
                .map(|value| value.to_text().into_owned());
            assert_eq!(text_form.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn an_expression_says_what_it_names() {
        let expr = parsed("$(a{$(k)}|$(b)) + $f($upper($(c)), $upper('x'))");
        let names: Vec<String> = expr
            .references()
            .map(|reference| match reference {
                Reference::Variable(name) => format!("variable {name}"),
                Reference::BuiltIn(name) => format!("built-in {name}"),
                Reference::Own(name) => format!("own {name}"),
            })
            .collect();
        let expected = [
            "variable k",
            "variable a",
            "variable b",
            "variable c",
            "built-in upper",
            "own f",
        ];
        assert_eq!(names, expected);
        assert!(expr.has_effects());
        assert!(!parsed("$upper($(a) + $(b))").has_effects());
        assert!(parsed("0 & $set_redirect('/')").has_effects());
    }

    #[test]
    fn what_looks_wrong_is_told_with_its_place() {
        for (text, offset, message) in [
            (
                "1 | $lowr('a')",
                4,
                "unknown function $lowr; $lower is known",
            ),
            (
                "1 | $len($(a), 2)",
                4,
                "$len takes 1 arguments, was given 2",
            ),
            (
                "1 | $add_header('a')",
                4,
                "$add_header takes 2 arguments, was given 1",
            ),
            ("$(a) == 7 / 0", 10, "division by zero"),
            (
                "$(a) matches '('",
                5,
                "bad regular expression: unclosed group",
            ),
        ] {
            let issues: Vec<(usize, String)> = parsed(text)
                .issues()
                .iter()
                .map(|issue| (issue.offset, issue.kind.to_string()))
                .collect();
            assert_eq!(issues, [(offset, message.to_owned())], "{text}");
        }
        assert!(parsed("$lower($(a)) == 'x'").issues().is_empty());
    }

    #[test]
    fn length_and_depth_are_bounded() {
        let limits = Limits::default();
        let longest = format!("'{}'", "x".repeat(8190));
        assert!(Expr::parse(longest.as_bytes(), &limits).is_ok());
        let longer = format!("'{}'", "x".repeat(8191));
        let kind = Expr::parse(longer.as_bytes(), &limits).unwrap_err().kind;
        assert_eq!(
            kind,
            ParseErrorKind::TooLong {
                length: 8193,
                limit: 8192
            }
        );

        let wide = vec!["1"; 4000].join("+");
        assert_eq!(parsed(&wide).as_constant(), Some(&Value::Integer(4000)));

        for (open, middle, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("$lower(", "1", ")"),
            ("!", "1", ""),
            ("- ", "$(a)", ""),
            ("$(a|", "$(a)", ")"),
            ("$(a{", "$(a)", "})"),
            ("1|1&!1==1+1*-(", "1", ")"),
        ] {
            let nested = |depth| format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
            let parse = |depth| Expr::parse(nested(depth).as_bytes(), &limits);
            assert!(parse(20).is_ok(), "{open}");
            for depth in [65, 500] {
                let kind = parse(depth).unwrap_err().kind;
                assert_eq!(kind, ParseErrorKind::TooDeep { limit: 64 }, "{open}");
            }
        }
    }
}

//! What holds for any input: nothing panics, plain text is left alone, tainted text never opens a tag, and evaluation agrees
//! with a second evaluator that is written here as plainly as the reference reads.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Escape, Expr, Interpolation, Limits, RequestFacts, Scope, Target, Value, World};

fn scope_with_query(query: &[u8]) -> Scope {
    let facts = RequestFacts {
        query: Bytes::copy_from_slice(query),
        ..RequestFacts::default()
    };
    Scope::new(Arc::new(facts), Limits::default())
}

fn evaluated(text: &str, scope: &mut Scope) -> Option<Value> {
    let expr = Expr::parse(text.as_bytes(), scope.limits()).ok()?;
    expr.evaluate(scope, &mut World::empty()).ok()
}

/// An expression as a tree, to be written down and to be evaluated by the reference.
#[derive(Debug, Clone)]
enum Tree {
    Integer(i64),
    Text(&'static str),
    Join(&'static str, Vec<Tree>),
    Not(Box<Tree>),
    Negate(Box<Tree>),
    Compare(&'static str, Box<Tree>, Box<Tree>),
    Chain(Box<Tree>, Vec<(&'static str, Tree)>),
}

impl Tree {
    /// How tightly it binds: a side that binds less than its place asks for is put into brackets, no other is.
    fn level(&self) -> usize {
        match self {
            Self::Join("|" | "||", _) => 0,
            Self::Join(..) => 1,
            Self::Not(_) => 2,
            Self::Compare(..) => 3,
            Self::Chain(_, rest) => match rest.first() {
                Some(("+" | "-", _)) => 4,
                _ => 5,
            },
            Self::Negate(_) => 6,
            Self::Integer(_) | Self::Text(_) => 7,
        }
    }

    fn written(&self, least: usize) -> String {
        let text = match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Text(text) => format!("'{text}'"),
            Self::Join(symbol, sides) => {
                let sides: Vec<String> = sides
                    .iter()
                    .map(|side| side.written(self.level() + 1))
                    .collect();
                sides.join(&format!(" {symbol} "))
            }
            Self::Not(inner) => format!("!{}", inner.written(2)),
            // Brackets, since a `-` before a number is part of the number.
            Self::Negate(inner) => format!("-({})", inner.written(0)),
            Self::Compare(symbol, left, right) => {
                format!("{} {symbol} {}", left.written(4), right.written(4))
            }
            Self::Chain(first, rest) => {
                let level = self.level();
                let mut text = first.written(level);
                for (symbol, side) in rest {
                    text = format!("{text} {symbol} {}", side.written(level + 1));
                }
                text
            }
        };
        if self.level() < least {
            format!("({text})")
        } else {
            text
        }
    }

    fn worth(&self) -> Option<Worth> {
        Some(match self {
            Self::Integer(integer) => Worth::Integer(*integer),
            Self::Text(text) => Worth::Text((*text).to_owned()),
            Self::Join(symbol, sides) => {
                let decisive = symbol.starts_with('|');
                for side in sides {
                    if side.worth()?.truth() == decisive {
                        return Some(Worth::Boolean(decisive));
                    }
                }
                Worth::Boolean(!decisive)
            }
            Self::Not(inner) => Worth::Boolean(!inner.worth()?.truth()),
            Self::Negate(inner) => Worth::Integer(inner.worth()?.whole()?.checked_neg()?),
            Self::Compare(symbol, left, right) => {
                Worth::Boolean(holds(symbol, &left.worth()?, &right.worth()?))
            }
            Self::Chain(first, rest) => {
                let mut sum = first.worth()?;
                for (symbol, side) in rest {
                    sum = calculated(symbol, &sum, &side.worth()?)?;
                }
                sum
            }
        })
    }
}

#[derive(Debug, Clone)]
enum Worth {
    Integer(i64),
    Text(String),
    Boolean(bool),
}

impl Worth {
    fn text(&self) -> String {
        match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Text(text) => text.clone(),
            Self::Boolean(truth) => truth.to_string(),
        }
    }

    /// Whether it is below zero, the length of its whole part, and all its digits, without the zeros that say nothing.
    fn number(&self) -> Option<(bool, usize, String)> {
        let text = self.text();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let all = format!("{whole}{}", fraction.trim_end_matches('0'));
        Some((text.starts_with('-') && !all.is_empty(), whole.len(), all))
    }

    fn is_zero(&self) -> bool {
        self.number()
            .is_some_and(|(_, _, digits)| digits.is_empty())
    }

    fn truth(&self) -> bool {
        match self {
            Self::Boolean(truth) => *truth,
            other => !other.text().is_empty() && !other.is_zero(),
        }
    }

    fn whole(&self) -> Option<i64> {
        match self {
            Self::Boolean(_) => None,
            other => other.text().parse().ok(),
        }
    }
}

fn holds(symbol: &str, left: &Worth, right: &Worth) -> bool {
    let order = match (left.number(), right.number()) {
        (Some((true, long, digits)), Some((true, other_long, others))) => {
            (other_long, others).cmp(&(long, digits))
        }
        (Some((below, long, digits)), Some((other_below, other_long, others))) => {
            (!below, long, digits).cmp(&(!other_below, other_long, others))
        }
        _ => left.text().as_bytes().cmp(right.text().as_bytes()),
    };
    let both = !left.text().is_empty() && !right.text().is_empty();
    match symbol {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => both && order.is_lt(),
        ">" => both && order.is_gt(),
        "<=" => both && order.is_le(),
        ">=" => both && order.is_ge(),
        "has" => left.text().contains(&right.text()),
        _ => left
            .text()
            .to_lowercase()
            .contains(&right.text().to_lowercase()),
    }
}

fn calculated(symbol: &str, left: &Worth, right: &Worth) -> Option<Worth> {
    if symbol == "+" {
        return match (left, right) {
            (Worth::Integer(left), Worth::Integer(right)) => {
                left.checked_add(*right).map(Worth::Integer)
            }
            _ => Some(Worth::Text(left.text() + &right.text())),
        };
    }
    let (left, right) = (left.whole()?, right.whole()?);
    match symbol {
        "-" => left.checked_sub(right),
        "*" => left.checked_mul(right),
        "/" => left.checked_div(right),
        _ => left.checked_rem(right),
    }
    .map(Worth::Integer)
}

fn trees() -> impl Strategy<Value = Tree> {
    let integers = prop_oneof![-3..12_i64, Just(i64::MAX), Just(i64::MIN), any::<i64>(),];
    let texts = prop::sample::select(vec![
        "", "0", "1", "007", "-2", "1.5", "1.50", "-0.0", "abc", "ABC", "b", "1x", " ", "true",
    ]);
    let leaves = prop_oneof![integers.prop_map(Tree::Integer), texts.prop_map(Tree::Text)];
    leaves.prop_recursive(5, 40, 4, |inner| {
        let comparisons = vec!["==", "!=", "<", ">", "<=", ">=", "has", "has_i"];
        let chain = |symbols: Vec<&'static str>, inner: BoxedStrategy<Tree>| {
            let rest = prop::collection::vec((prop::sample::select(symbols), inner.clone()), 1..4);
            (inner, rest).prop_map(|(first, rest)| Tree::Chain(Box::new(first), rest))
        };
        let sides = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            (prop::sample::select(vec!["|", "||", "&", "&&"]), sides)
                .prop_map(|(symbol, sides)| Tree::Join(symbol, sides)),
            inner.clone().prop_map(|inner| Tree::Not(Box::new(inner))),
            inner
                .clone()
                .prop_map(|inner| Tree::Negate(Box::new(inner))),
            (
                prop::sample::select(comparisons),
                inner.clone(),
                inner.clone()
            )
                .prop_map(|(symbol, left, right)| Tree::Compare(
                    symbol,
                    Box::new(left),
                    Box::new(right)
                )),
            chain(vec!["+", "-"], inner.clone()),
            chain(vec!["*", "/", "%"], inner),
        ]
    })
}

/// Bytes of which many are parts of the grammar.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "$(",
        ")",
        "{",
        "}",
        "|",
        "'",
        "\"",
        "'''",
        "\\",
        "[",
        "]",
        "..",
        ",",
        ":",
        "$lower(",
        "$f(",
        "(",
        "a",
        "HTTP_HOST",
        "QUERY_STRING",
        "12",
        "1.5",
        "-",
        "+",
        "*",
        "/",
        "%",
        "!",
        "==",
        "<",
        "&",
        " ",
        "has",
        "matches_i",
        "$",
        "\u{fc}",
        "\0",
    ]);
    let piece = prop_oneof![
        8 => parts.prop_map(|part| part.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Expressions over the query, none of which ends its taint.
fn tainted_expressions() -> impl Strategy<Value = String> {
    let leaves = prop::sample::select(vec![
        "$(QUERY_STRING)",
        "$(QUERY_STRING{a})",
        "'b'",
        "'&lt;'",
        "'%3C'",
        "2",
    ]);
    leaves
        .prop_map(str::to_owned)
        .prop_recursive(4, 20, 3, |inner| {
            let one = |text: &'static str| {
                inner
                    .clone()
                    .prop_map(move |inner| text.replace('@', &inner))
            };
            let two = |text: &'static str| {
                (inner.clone(), inner.clone())
                    .prop_map(move |(left, right)| text.replace('@', &left).replace('#', &right))
            };
            prop_oneof![
                one("$lower(@)"),
                one("$upper(@)"),
                one("$strip(@)"),
                one("$str(@)"),
                one("$substr(@, 0, 5)"),
                one("$join($string_split(@, 'b'), '-')"),
                one("$string_split(@)"),
                one("[@, 'x']"),
                one("{'k': @}"),
                one("{@: 1}"),
                one("$list_delitem([@, 'x'], 1)"),
                two("(@ + #)"),
                two("$replace(@, 'b', #)"),
                two("$join([@, #], '+')"),
                two("$string_split(@, #)"),
            ]
        })
}

proptest! {
    #[test]
    fn evaluation_agrees_with_the_plain_evaluator(tree in trees()) {
        let text = tree.written(0);
        let expected = tree.worth().map(|worth| worth.text());
        let value = evaluated(&text, &mut scope_with_query(b""));
        let value = value.map(|value| String::from_utf8_lossy(&value.to_text()).into_owned());
        prop_assert_eq!(value, expected, "{}", text);
    }

    #[test]
    fn folding_changes_nothing(tree in trees()) {
        // The same tree with every text behind a variable, which nothing can fold.
        let text = tree.written(0);
        let mut scope = scope_with_query(b"");
        let mut unfolded = text.clone();
        for (place, literal) in ["''", "'0'", "'1'", "'007'", "'-2'", "'1.5'", "'abc'", "'b'"].iter().enumerate() {
            let name = format!("v{place}");
            let value = evaluated(literal, &mut scope).unwrap();
            let target = Target::parse(name.as_bytes(), scope.limits()).unwrap();
            target.assign(value, &mut scope, &mut World::empty()).unwrap();
            unfolded = unfolded.replace(literal, &format!("$({name})"));
        }
        let folded = evaluated(&text, &mut scope).map(|value| value.to_text().into_owned());
        let unfolded = evaluated(&unfolded, &mut scope).map(|value| value.to_text().into_owned());
        prop_assert_eq!(folded, unfolded, "{}", text);
    }

    #[test]
    fn any_bytes_parse_and_evaluate_without_panic(text in scraps(), query in any::<Vec<u8>>()) {
        let mut scope = scope_with_query(&query);
        if let Ok(expr) = Expr::parse(&text, scope.limits()) {
            let _ = expr.evaluate(&mut scope, &mut World::empty());
        }
        let target = Target::parse(&text, scope.limits());
        if let Ok(target) = target {
            let _ = target.assign(Value::Integer(1), &mut scope, &mut World::empty());
        }
    }

    #[test]
    fn an_error_stands_inside_the_text(text in scraps()) {
        if let Err(error) = Expr::parse(&text, &Limits::default()) {
            prop_assert!(error.offset <= text.len(), "{}", error);
        }
    }

    #[test]
    fn any_bytes_interpolate_without_panic(text in scraps(), query in any::<Vec<u8>>()) {
        let mut scope = scope_with_query(&query);
        let text = Interpolation::parse(&Bytes::from(text), scope.limits());
        let mut host = World::empty();
        text.emit(Escape::Json, usize::MAX, &mut scope, &mut host, &mut Vec::new());
        text.url(&mut scope, &mut host);
        text.value(&mut scope, &mut host);
    }

    #[test]
    fn text_without_dollars_is_left_as_it_is(text in any::<Vec<u8>>()) {
        let text: Vec<u8> = text.into_iter().filter(|byte| *byte != b'$').collect();
        let text = Bytes::from(text);
        let cut = Interpolation::parse(&text, &Limits::default());
        prop_assert_eq!(cut.as_literal(), Some(text));
    }

    #[test]
    fn tainted_text_never_opens_a_tag(
        expression in tainted_expressions(),
        query in prop::collection::vec(prop::sample::select(b"<>&'\"ab= +%3C;".to_vec()), 0..20),
    ) {
        let mut scope = scope_with_query(&query);
        let mut out = Vec::new();
        if let Some(value) = evaluated(&expression, &mut scope) {
            value.emit(Escape::Html, &mut out);
        }
        prop_assert!(!out.iter().any(|byte| b"<>\"'".contains(byte)), "{} {:?}", expression, out);
    }

    #[test]
    fn a_url_holds_no_byte_that_a_url_may_not(query in any::<Vec<u8>>()) {
        let mut scope = scope_with_query(&query);
        let text = Interpolation::parse(&Bytes::from("/a?$(QUERY_STRING)"), scope.limits());
        let (url, _) = text.url(&mut scope, &mut World::empty());
        let url = url.unwrap();
        let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
        let all_allowed = url.iter().all(allowed);
        prop_assert!(all_allowed, "{:?}", url);
    }
}

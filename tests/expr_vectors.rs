//! Every row of `fixtures/expr`: expressions and text with their values, and what is refused.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use marquetry::expr::{
    AssignError, Escape, EvalError, Expr, Host, Interpolation, Kind, Limits, Name, Refusal,
    RequestFacts, Scope, Target, Value,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    expression: Option<String>,
    text: Option<String>,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    variables: Vec<(String, String)>,
    #[serde(default)]
    functions: BTreeMap<String, String>,
    #[serde(default)]
    before: Vec<String>,
    matchname: Option<String>,
    value: Option<String>,
    kind: Option<String>,
    tainted: Option<bool>,
    escape: Option<String>,
    error: Option<String>,
    parse_error: Option<String>,
    assign_error: Option<String>,
    #[serde(default)]
    failures: Vec<String>,
    #[serde(default)]
    effects: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Request {
    method: String,
    path: String,
    query: String,
    host: String,
    remote_addr: String,
    headers: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            path: "/page".into(),
            query: String::new(),
            host: "www.example.com".into(),
            remote_addr: "192.0.2.7".into(),
            headers: Vec::new(),
            cookies: Vec::new(),
        }
    }
}

impl Request {
    fn facts(&self) -> RequestFacts {
        let bytes = |text: &String| Bytes::from(text.clone());
        let pairs = |pairs: &[(String, String)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect()
        };
        RequestFacts {
            method: bytes(&self.method),
            path: bytes(&self.path),
            query: bytes(&self.query),
            host: bytes(&self.host),
            remote_addr: bytes(&self.remote_addr),
            headers: pairs(&self.headers),
            cookies: pairs(&self.cookies),
        }
    }
}

/// A document whose functions are expressions, with a stopped clock and known chance; it writes down what is done to the
/// response.
struct Document {
    functions: BTreeMap<String, Expr>,
    effects: Vec<String>,
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Host for Document {
    fn call(&mut self, name: &[u8], scope: &mut Scope) -> Option<Result<Value, EvalError>> {
        let body = self
            .functions
            .get(std::str::from_utf8(name).unwrap())?
            .clone();
        Some(body.evaluate(scope, self))
    }

    fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name == b"Connection" {
            return Err(Refusal("hop-by-hop"));
        }
        self.effects
            .push(format!("header {}: {}", shown(name), shown(value)));
        Ok(())
    }

    fn set_response_code(&mut self, code: u16, body: Option<&[u8]>) -> Result<(), Refusal> {
        let body = body.map(|body| format!(" {}", shown(body)));
        self.effects
            .push(format!("status {code}{}", body.unwrap_or_default()));
        Ok(())
    }

    fn set_redirect(&mut self, url: &[u8]) -> Result<(), Refusal> {
        self.effects.push(format!("redirect {}", shown(url)));
        Ok(())
    }

    fn now(&mut self) -> i64 {
        784_111_777
    }

    fn random(&mut self, below: u64) -> u64 {
        41 % below
    }
}

/// What came of a row, in the words of its keys.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    value: Option<String>,
    kind: Option<String>,
    tainted: Option<bool>,
    error: Option<String>,
    parse_error: Option<String>,
    assign_error: Option<String>,
    failures: Vec<String>,
    effects: Vec<String>,
}

fn run(row: &Row) -> Outcome {
    let limits = Limits::default();
    let expr = |text: &str| {
        Expr::parse(text.as_bytes(), &limits)
            .unwrap_or_else(|error| panic!("{}: {error}", row.name))
    };
    let mut scope = Scope::new(Arc::new(row.request.facts()), limits);
    let functions = row.functions.iter();
    let mut host = Document {
        functions: functions
            .map(|(name, body)| (name.clone(), expr(body)))
            .collect(),
        effects: Vec::new(),
    };
    let mut outcome = Outcome::default();
    for (name, value) in &row.variables {
        let value = expr(value).evaluate(&mut scope, &mut host).unwrap();
        let assigned = assign(name, value, &limits, &mut scope, &mut host);
        outcome.assign_error = assigned.err().map(|error| error.to_string());
    }
    for test in &row.before {
        let name = row
            .matchname
            .as_ref()
            .and_then(|name| Name::parse(name.as_bytes()));
        expr(test)
            .test(name.as_ref(), &mut scope, &mut host)
            .unwrap();
    }
    match (&row.expression, &row.text) {
        (Some(text), None) => evaluate(text, &limits, &mut scope, &mut host, &mut outcome),
        (None, Some(text)) => interpolate(text, row, &mut scope, &mut host, &mut outcome),
        _ => panic!("{}: one of expression and text", row.name),
    }
    outcome.effects = host.effects;
    outcome
}

fn assign(
    name: &str,
    value: Value,
    limits: &Limits,
    scope: &mut Scope,
    host: &mut Document,
) -> Result<(), AssignError> {
    Target::parse(name.as_bytes(), limits)?.assign(value, scope, host)
}

fn evaluate(
    text: &str,
    limits: &Limits,
    scope: &mut Scope,
    host: &mut Document,
    outcome: &mut Outcome,
) {
    let expr = match Expr::parse(text.as_bytes(), limits) {
        Ok(expr) => expr,
        Err(error) => {
            outcome.parse_error = Some(error.to_string());
            return;
        }
    };
    match expr.evaluate(scope, host) {
        Ok(value) => {
            outcome.value = Some(shown(&value.to_text()));
            outcome.kind = Some(kind(value.kind()).to_owned());
            outcome.tainted = Some(value.is_tainted());
        }
        Err(error) => outcome.error = Some(error.to_string()),
    }
}

fn interpolate(
    text: &str,
    row: &Row,
    scope: &mut Scope,
    host: &mut Document,
    outcome: &mut Outcome,
) {
    let text = Interpolation::parse(&Bytes::from(text.to_owned()), scope.limits());
    let escape = match row.escape.as_deref() {
        None | Some("html") => Some(Escape::Html),
        Some("json") => Some(Escape::Json),
        Some("none") => Some(Escape::None),
        Some("url") => None,
        other => panic!("{}: escape {other:?}", row.name),
    };
    let mut out = Vec::new();
    let failures = if let Some(escape) = escape {
        text.emit(escape, usize::MAX, scope, host, &mut out)
    } else {
        let (url, failures) = text.url(scope, host);
        out = url.unwrap().to_vec();
        failures
    };
    outcome.value = Some(shown(&out));
    let failures = failures.into_iter();
    outcome.failures = failures
        .map(|(offset, error)| format!("{offset}: {error}"))
        .collect();
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => "missing",
        Kind::Boolean => "boolean",
        Kind::Integer => "integer",
        Kind::Decimal => "decimal",
        Kind::Text => "text",
        Kind::List => "list",
        Kind::Dictionary => "dictionary",
    }
}

fn expected(row: &Row, outcome: &Outcome) -> Outcome {
    Outcome {
        value: row.value.clone(),
        kind: row.kind.clone().or_else(|| outcome.kind.clone()),
        tainted: row.tainted.or(outcome.tainted),
        error: row.error.clone(),
        parse_error: row.parse_error.clone(),
        assign_error: row.assign_error.clone(),
        failures: row.failures.clone(),
        effects: row.effects.clone(),
    }
}

#[test]
fn every_row_gives_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/expr");
    let mut names = HashSet::new();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        for row in file.row {
            let outcome = run(&row);
            let expected = expected(&row, &outcome);
            if outcome != expected {
                wrong.push(format!(
                    "{}\n  expected {expected:?}\n  came to  {outcome:?}",
                    row.name
                ));
            }
            assert!(names.insert(row.name.clone()), "{} stands twice", row.name);
        }
    }
    assert!(names.len() >= 150, "only {} rows", names.len());
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        names.len(),
        wrong.join("\n")
    );
}

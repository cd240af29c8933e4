//! The names that the compiler and the evaluator know, read from the sources where they are told apart, so that a name added there
//! asks for its place in the reference.

use std::fmt;
use std::fs;
use std::path::Path;

use regex::Regex;

/// The sources of one folder, one after the other, so that code may move from file to file.
fn sources(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a folder of the sources")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    let read = |path| fs::read_to_string(path).expect("a source");
    files.iter().map(read).collect()
}

/// A name, and what it is the name of.
pub(crate) enum Name {
    Element(String),
    Attribute(String),
    Variable(String),
    Function(String),
    Operator(String),
    Directive(String),
    Parameter(String),
    SsiVariable(String),
}

impl Name {
    /// Whether this text uses it.
    pub(crate) fn is_shown_in(&self, text: &str) -> bool {
        match self {
            Self::Element(name) => has(text, &format!(r"<esi:{name}[\s/>]")),
            Self::Attribute(name) => has(text, &format!(r#"<esi:[^>]*\s{name}=["']"#)),
            Self::Variable(name) => has(text, &format!(r"\$\({name}[)|{{]")),
            Self::Function(name) => text.contains(&format!("${name}(")),
            Self::Operator(symbol) => text.contains(symbol),
            Self::Directive(name) => has(text, &format!(r"<!--#\s?{name}\s")),
            Self::Parameter(name) => has(text, &format!(r#"<!--#[^>]*\s{name}=["']"#)),
            Self::SsiVariable(name) => has(text, &format!(r#"(?i)(<!--#echo var="|\$\{{?){name}"#)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(name) => write!(f, "<esi:{name}>"),
            Self::Attribute(name) => write!(f, "the attribute {name}"),
            Self::Variable(name) => write!(f, "$({name})"),
            Self::Function(name) => write!(f, "${name}()"),
            Self::Operator(symbol) => write!(f, "the operator {symbol}"),
            Self::Directive(name) => write!(f, "#{name}"),
            Self::Parameter(name) => write!(f, "the parameter {name}"),
            Self::SsiVariable(name) => write!(f, "the variable ${name}"),
        }
    }
}

/// All of them.
pub(crate) fn names() -> Vec<Name> {
    let bytes = r#"b"([A-Za-z_]+)""#;
    let (template, compose, expr) = (&sources("template"), &sources("compose"), &sources("expr"));
    let functions = &sources("expr/functions");
    let mut names = Vec::new();
    let elements = [
        found(between(template, "fn of_tag", "_ =>"), bytes),
        found(between(template, "match tag.name {", "other =>"), bytes),
        vec!["text".to_owned()],
    ];
    names.extend(elements.concat().into_iter().map(Name::Element));
    let attributes = [
        found(template, r#"attributes\s*\.get\("([a-z-]+)"\)"#),
        found(template, r#"required\([^,]+, "([a-z-]+)"\)"#),
        found(template, r#"(?:optional_text|choice)\(\s*"([a-z-]+)""#),
        found(template, r#"\("([a-z]+)", HeaderChange"#),
    ];
    names.extend(attributes.concat().into_iter().map(Name::Attribute));
    let variables = found(between(expr, "pub fn named", "_ if name"), bytes);
    names.extend(variables.into_iter().map(Name::Variable));
    let functions = found(
        between(functions, "static TABLE", "\n];"),
        r#"(?:pure|effect)\(\s*"([a-z0-9_]+)""#,
    );
    names.extend(functions.into_iter().map(Name::Function));
    let symbols = [
        found(between(expr, "pub(super) enum Symbol", "\n}"), "`([^`]+)`"),
        found(expr, r#""(has|has_i|matches|matches_i)""#),
    ];
    names.extend(symbols.concat().into_iter().map(Name::Operator));
    let directives = [
        found(between(template, "pub(super) fn node(", "other =>"), bytes),
        found(
            between(
                template,
                "match token.directive.as_ref()",
                "_ => Role::Leaf",
            ),
            bytes,
        ),
    ];
    names.extend(directives.concat().into_iter().map(Name::Directive));
    let parameters: Vec<String> = found(
        template,
        r"(?:take\(directive, [^,]+, |NAMES: [^=]+= )\[([^\]]*)\]",
    )
    .iter()
    .flat_map(|list| found(list, r#""([a-z]+)""#))
    .collect();
    names.extend(parameters.into_iter().map(Name::Parameter));
    let values = [
        found(
            between(
                compose,
                "fn ssi_document_variable",
                "fn ssi_request_variable",
            ),
            bytes,
        ),
        found(
            between(compose, "fn ssi_request_variable", "fn ssi_echo"),
            bytes,
        ),
    ];
    names.extend(values.concat().into_iter().map(Name::SsiVariable));
    assert!(
        names.len() > 130,
        "the sources are no longer read: {}",
        names.len()
    );
    names
}

/// The settings of `[compose.limits]`.
pub(crate) fn limits() -> Vec<String> {
    let limits = found(
        between(&sources("config"), "pub struct LanguageLimits", "\n}"),
        r"pub ([a-z_]+):",
    );
    assert!(limits.len() > 8, "the sources are no longer read");
    limits
}

fn has(text: &str, pattern: &str) -> bool {
    Regex::new(pattern).expect("a pattern").is_match(text)
}

fn found(text: &str, pattern: &str) -> Vec<String> {
    Regex::new(pattern)
        .expect("a pattern")
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect()
}

/// What lies between two marks of a source.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let from = text
        .find(start)
        .unwrap_or_else(|| panic!("no {start:?} in the source"));
    let text = &text[from..];
    let to = text
        .find(end)
        .unwrap_or_else(|| panic!("no {end:?} behind {start:?}"));
    &text[..to]
}

//! The README's own notation -> examples. It is told to readers at the start of the chapter:
//!
//! - a block of code with a line `=== gives` is one example: lines `===` before the page are the request and the settings, those
//!   behind it the fragments, the last one the output;
//! - a table whose last two columns are `document`, `text` or `expression`, and `gives`, has one example a row, asked for as the
//!   `http` block before it says.

use std::time::Duration;

/// A page, what surrounds it, and what it gives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Example {
    /// Its line in the README.
    pub(crate) line: usize,
    pub(crate) request: Request,
    /// Lines of `[compose]`.
    pub(crate) settings: String,
    pub(crate) media_type: &'static str,
    pub(crate) page: String,
    pub(crate) fragments: Vec<Fragment>,
    pub(crate) gives: Outcome,
}

/// The client's request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            target: "/page".to_owned(),
            headers: Vec::new(),
        }
    }
}

/// A fragment as its application answers, and how it must be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    pub(crate) url: String,
    pub(crate) status: u16,
    pub(crate) media_type: String,
    pub(crate) delay: Duration,
    pub(crate) body: String,
    /// Not at all, when it must never be.
    pub(crate) asked: bool,
    pub(crate) wanted: Vec<Wanted>,
}

/// What must be true of a fragment's request.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    Post(String),
    With(String, String),
    Without(String),
    Kept(Duration),
    NeverKept,
}

/// What a page gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// Whether an error is logged.
    pub(crate) logged: bool,
    pub(crate) body: String,
}

/// The chapter on the language.
pub(crate) fn chapter() -> &'static str {
    numbered_chapter().1
}

fn numbered_chapter() -> (usize, &'static str) {
    const README: &str = include_str!("../../README.md");
    let start = README.find("\n## The language\n").expect("the chapter") + 1;
    let chapter = &README[start..];
    let end = chapter[3..].find("\n## ").expect("a chapter after it") + 3;
    (README[..start].matches('\n').count() + 1, &chapter[..end])
}

/// All examples of the chapter.
pub(crate) fn examples() -> Vec<Example> {
    let (first, chapter) = numbered_chapter();
    let mut reader = Reader::default();
    for (number, line) in chapter.lines().enumerate() {
        reader.line(first + number, line);
    }
    assert!(reader.fence.is_none(), "a block of code never ends");
    reader.examples
}

#[derive(Default)]
struct Reader {
    examples: Vec<Example>,
    /// The block of code being read: its line, its language, its text.
    fence: Option<(usize, String, Vec<String>)>,
    table: Option<Form>,
    /// How the examples of tables are asked for.
    request: Request,
}

/// What the examples of a table are.
#[derive(Clone, Copy)]
enum Form {
    Document,
    Text,
    Expression,
    /// No examples.
    Other,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        if let Some((start, language, mut lines)) = self.fence.take() {
            if line == "```" {
                self.block(start, &language, &lines);
            } else {
                lines.push(line.to_owned());
                self.fence = Some((start, language, lines));
            }
        } else if let Some(language) = line.strip_prefix("```") {
            self.fence = Some((number, language.to_owned(), Vec::new()));
        } else if line.starts_with('|') {
            self.row(number, &cells(line));
        }
        if !line.starts_with('|') {
            self.table = None;
        }
    }

    fn block(&mut self, line: usize, language: &str, lines: &[String]) {
        if language == "http" {
            self.request = http_request(lines);
            return;
        }
        let media_type = match language {
            "html" => "text/html",
            "json" => "application/json",
            "xml" => "text/xml",
            _ => return,
        };
        self.examples.push(example(line, media_type, lines));
    }

    fn row(&mut self, line: usize, cells: &[String]) {
        let Some(form) = self.table else {
            let last_two = cells.len().checked_sub(2).map(|at| &cells[at..]);
            self.table = Some(match last_two {
                Some([form, gives]) if gives == "gives" => match &form[..] {
                    "document" => Form::Document,
                    "text" => Form::Text,
                    "expression" => Form::Expression,
                    other => panic!("README.md:{line}: a column of {other}"),
                },
                _ => Form::Other,
            });
            return;
        };
        let [.., written, gives] = cells else { return };
        if gives.starts_with("--") || matches!(form, Form::Other) {
            return;
        }
        let written = code(written).unwrap_or_else(|| panic!("README.md:{line}: no example"));
        let page = match form {
            Form::Text => format!("<esi:vars>{written}</esi:vars>"),
            Form::Expression => format!("<esi:vars>$raw({written})</esi:vars>"),
            Form::Document | Form::Other => written,
        };
        self.examples.push(Example {
            line,
            request: self.request.clone(),
            media_type: "text/html",
            page,
            gives: Outcome {
                status: 200,
                logged: gives.ends_with("logged"),
                body: code(gives).unwrap_or_default(),
                ..Outcome::default()
            },
            ..Example::default()
        });
    }
}

/// The cells of a row; `\|` is a bar inside one.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').replace("\\|", "\0");
    let line = line.strip_suffix('|').unwrap_or(&line);
    line.split('|')
        .map(|cell| cell.trim().replace('\0', "|"))
        .collect()
}

/// What stands between the first backquote of a cell and its last.
fn code(cell: &str) -> Option<String> {
    let (start, end) = (cell.find('`')?, cell.rfind('`')?);
    (start < end).then(|| cell[start + 1..end].to_owned())
}

fn http_request(lines: &[String]) -> Request {
    let mut request = Request::default();
    for line in lines {
        head_line(line, &mut request, &mut String::new());
    }
    request
}

/// `GET /target`, `Name: value`, or a setting.
fn head_line(line: &str, request: &mut Request, settings: &mut String) {
    let word = line.split(' ').next().unwrap_or_default();
    if let Some(name) = word.strip_suffix(':') {
        let value = line[word.len()..].trim();
        request.headers.push((name.to_owned(), value.to_owned()));
    } else if word.bytes().all(|byte| byte.is_ascii_uppercase()) {
        word.clone_into(&mut request.method);
        line[word.len()..].trim().clone_into(&mut request.target);
    } else {
        settings.push_str(line);
        settings.push('\n');
    }
}

fn example(line: usize, media_type: &'static str, lines: &[String]) -> Example {
    let mut example = Example {
        line,
        media_type,
        ..Example::default()
    };
    let mut lines = lines.iter().map(String::as_str).peekable();
    while let Some(head) = lines.next_if(|line| line.starts_with("=== ")) {
        head_line(&head[4..], &mut example.request, &mut example.settings);
    }
    let mut parts: Vec<(&str, Vec<&str>)> = vec![("", Vec::new())];
    for line in lines {
        match line.strip_prefix("=== ") {
            Some(mark) => parts.push((mark, Vec::new())),
            None => parts.last_mut().expect("the page").1.push(line),
        }
    }
    for (mark, lines) in parts {
        let body = lines.join("\n");
        let facts: Vec<&str> = mark.split(", ").collect();
        if mark.is_empty() {
            example.page = body;
        } else if facts[0] == "gives" {
            example.gives = outcome(line, &facts[1..], body);
        } else {
            example.fragments.push(fragment(line, &facts, body));
        }
    }
    assert!(
        example.gives.status > 0,
        "README.md:{line}: an example without `=== gives`"
    );
    example
}

fn outcome(line: usize, facts: &[&str], body: String) -> Outcome {
    let mut outcome = Outcome {
        status: 200,
        body,
        ..Outcome::default()
    };
    for fact in facts {
        if *fact == "logged" {
            outcome.logged = true;
        } else if let Ok(status) = fact.parse() {
            outcome.status = status;
        } else if let Some((name, value)) = fact.split_once(": ") {
            outcome
                .headers
                .push((name.to_lowercase(), value.to_owned()));
        } else {
            panic!("README.md:{line}: what is {fact:?}?");
        }
    }
    outcome
}

fn fragment(line: usize, facts: &[&str], body: String) -> Fragment {
    let mut fragment = Fragment {
        url: facts[0].to_owned(),
        status: 200,
        media_type: "text/html".to_owned(),
        delay: Duration::ZERO,
        body,
        asked: true,
        wanted: Vec::new(),
    };
    for fact in &facts[1..] {
        let fact = *fact;
        if let Ok(status) = fact.parse() {
            fragment.status = status;
        } else if fact == "never asked" {
            fragment.asked = false;
        } else if fact == "never kept" {
            fragment.wanted.push(Wanted::NeverKept);
        } else if let Some(time) = fact.strip_prefix("kept ") {
            fragment.wanted.push(Wanted::Kept(seconds(time)));
        } else if let Some(time) = fact.strip_prefix("after ") {
            fragment.delay = seconds(time);
        } else if let Some(body) = fact.strip_prefix("asked with POST ") {
            fragment.wanted.push(Wanted::Post(body.to_owned()));
        } else if let Some(header) = fact.strip_prefix("asked with ") {
            let (name, value) = header.split_once(": ").expect("a header");
            let wanted = Wanted::With(name.to_lowercase(), value.to_owned());
            fragment.wanted.push(wanted);
        } else if let Some(name) = fact.strip_prefix("asked without ") {
            fragment.wanted.push(Wanted::Without(name.to_lowercase()));
        } else if fact.contains('/') {
            fact.clone_into(&mut fragment.media_type);
        } else {
            panic!("README.md:{line}: what is {fact:?}?");
        }
    }
    fragment
}

fn seconds(text: &str) -> Duration {
    let number = text
        .strip_suffix('s')
        .and_then(|number| number.parse().ok());
    Duration::from_secs(number.unwrap_or_else(|| panic!("{text:?} is no number of seconds")))
}

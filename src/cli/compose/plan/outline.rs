//! The includes of a compiled document and what they stand in, read from its tree: nothing is evaluated.

use std::time::Duration;

use crate::template::Template;
use crate::template::issue::line_and_column;
use crate::template::tree::{Body, Dca, FragmentMethod, Include, Node, Text};

/// Longest text of a condition that is shown, in characters.
const SHOWN: usize = 100;

/// An include as it is written.
#[derive(Debug, Clone)]
pub struct Tag {
    /// Where it stands.
    pub offset: usize,
    /// `esi:include`, `esi:eval` or `#include`.
    pub element: &'static str,
    /// GET or POST.
    pub method: &'static str,
    /// The tag itself, cut where it is long.
    pub text: String,
    /// `alt`, as it is written.
    pub alt: Option<String>,
    /// Whether `alt` is the same for all requests.
    pub alt_is_constant: bool,
    /// `onerror="continue"`.
    pub on_error_continue: bool,
    /// `maxwait`.
    pub max_wait: Option<Duration>,
    /// `ttl`.
    pub ttl: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `dca`.
    pub dca: Option<&'static str>,
    /// `stub` of a directive.
    pub stub: Option<String>,
    /// `set` of a directive.
    pub set: Option<String>,
    /// `wait` of a directive.
    pub wait: bool,
}

/// What an include stands in that decides whether it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// In words, with what is written in the page.
    pub text: String,
    /// Its line and column, where it has a place of its own.
    pub place: Option<(usize, usize)>,
}

/// The includes of a document in its order, each with what it stands in, outermost first.
pub fn tags(template: &Template) -> Vec<(Tag, Vec<Condition>)> {
    let mut outline = Outline {
        template,
        around: Vec::new(),
        found: Vec::new(),
    };
    outline.walk(template.root());
    outline.found
}

struct Outline<'t> {
    template: &'t Template,
    around: Vec<Condition>,
    found: Vec<(Tag, Vec<Condition>)>,
}

impl Outline<'_> {
    /// Elements nest no deeper than the compiler allows, so this may call itself.
    fn walk(&mut self, body: Body) {
        let template = self.template;
        for node in template.body(body) {
            match node {
                Node::Include(include) => self.include(include, false),
                Node::Eval(include) => self.include(include, true),
                Node::Inline(inline) => self.walk(inline.body),
                Node::Choose(choose) => {
                    for when in template.branches(choose) {
                        let test = self.test_at(when.offset);
                        self.within(format!("when {test}"), Some(when.offset), when.body);
                    }
                    if let Some(body) = choose.otherwise {
                        self.within("otherwise".to_owned(), None, body);
                    }
                }
                Node::Try(tried) => {
                    self.walk(tried.attempt);
                    if let Some(body) = tried.except {
                        let text = "except: only when the attempt fails".to_owned();
                        self.within(text, Some(tried.offset), body);
                    }
                }
                Node::Foreach(foreach) => {
                    let tag = self.tag_at(foreach.offset, b">");
                    self.within(tag, Some(foreach.offset), foreach.body);
                }
                Node::If(condition) => {
                    for branch in &condition.branches {
                        let directive = self.tag_at(branch.offset, b"-->");
                        self.within(directive, Some(branch.offset), branch.body);
                    }
                    if let Some(body) = condition.otherwise {
                        self.within("<!--#else -->".to_owned(), None, body);
                    }
                }
                Node::Block(block) => {
                    let name = String::from_utf8_lossy(&block.name);
                    let text = format!("block {name}: only when it stands in as a stub");
                    self.within(text, None, block.body);
                }
                // Includes cannot stand in functions, and what is assigned is text.
                Node::Function(_)
                | Node::Assign(_)
                | Node::Text(_)
                | Node::Dynamic(_)
                | Node::Break
                | Node::Return(_)
                | Node::Echo(_)
                | Node::Set(_)
                | Node::Config(_)
                | Node::Message { .. } => {}
            }
        }
    }

    fn within(&mut self, text: String, offset: Option<usize>, body: Body) {
        let place = offset.map(|offset| line_and_column(self.template.document(), offset));
        self.around.push(Condition { text, place });
        self.walk(body);
        self.around.pop();
    }

    fn include(&mut self, include: &Include, evaluated: bool) {
        let directive = include.ssi.as_ref();
        let end: &[u8] = if directive.is_some() { b"-->" } else { b">" };
        let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
        let tag_text = self.tag_at(include.offset, end);
        let constant = match &include.alt {
            Some(Text::Constant(alt)) => Some(text(alt)),
            _ => None,
        };
        let alt = include.alt.as_ref().map(|_| {
            constant
                .clone()
                .unwrap_or_else(|| attribute(&tag_text, "alt"))
        });
        let tag = Tag {
            offset: include.offset,
            element: match (directive, evaluated) {
                (Some(_), _) => "#include",
                (None, true) => "esi:eval",
                (None, false) => "esi:include",
            },
            method: match include.method {
                FragmentMethod::Get => "GET",
                FragmentMethod::Post => "POST",
            },
            text: shortened(&tag_text),
            alt,
            alt_is_constant: constant.is_some(),
            on_error_continue: include.on_error_continue,
            max_wait: include.max_wait,
            ttl: include.ttl,
            no_store: include.no_store,
            dca: match include.dca {
                Dca::Declared => None,
                Dca::Esi => Some("esi"),
                Dca::None => Some("none"),
            },
            stub: directive.and_then(|ssi| ssi.stub.as_ref()).map(text),
            set: directive.and_then(|ssi| ssi.set.as_ref()).map(text),
            wait: directive.is_some_and(|ssi| ssi.wait),
        };
        self.found.push((tag, self.around.clone()));
    }

    /// The test that is written here, up to the quote that stands before it; of a test with entities only the tag is known.
    fn test_at(&self, offset: usize) -> String {
        let document = self.template.document();
        let rest = document.get(offset..).unwrap_or_default();
        if rest.starts_with(b"<esi:") {
            return shortened(&attribute(&self.tag_at(offset, b">"), "test"));
        }
        let quote = offset
            .checked_sub(1)
            .and_then(|before| document.get(before).copied())
            .filter(|byte| matches!(byte, b'"' | b'\''));
        let end = match quote {
            Some(quote) => memchr::memchr(quote, rest),
            None => rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || *byte == b'>'),
        };
        let value = &rest[..end.unwrap_or(rest.len())];
        // In a JSON string the quotes are escaped.
        shortened(&String::from_utf8_lossy(
            value.strip_suffix(b"\\").unwrap_or(value),
        ))
    }

    /// The tag that starts here.
    fn tag_at(&self, offset: usize, end: &[u8]) -> String {
        let rest = self.template.document().get(offset..).unwrap_or_default();
        let length = tag_length(rest, end);
        shortened(&String::from_utf8_lossy(&rest[..length]))
    }
}

/// Up to and with the first `end` outside quotes.
fn tag_length(tag: &[u8], end: &[u8]) -> usize {
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match quote {
            Some(open) if open == *byte => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(*byte),
            None if tag[at..].starts_with(end) => return at + end.len(),
            _ => {}
        }
    }
    tag.len()
}

/// The value of an attribute, as it is written in a tag.
fn attribute(tag: &str, name: &str) -> String {
    let value = tag
        .split_once(&format!(" {name}="))
        .map_or(tag, |(_, value)| value);
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split([' ', '/', '>']).next().unwrap_or_default(),
    }
    .to_owned()
}

/// On one line, and not too long.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Settings, compile};

    #[test]
    fn includes_are_found_with_what_they_stand_in() {
        let page = r#"<esi:include src="/a"/>
<esi:choose><esi:when test="$(HTTP_HOST) == 'x' &amp; 1"><esi:include src="/b" alt="/c"/></esi:when>
<esi:otherwise><!--#if expr="$a = b" --><!--#include virtual="/d" --><!--#endif --></esi:otherwise></esi:choose>
<esi:try><esi:attempt><esi:eval src="/e"/></esi:attempt><esi:except><esi:include src="/f"
 maxwait="5" onerror="continue"/></esi:except></esi:try>"#;
        let template = compile(page.into(), &Settings::default());
        let found: Vec<(String, &str, Vec<String>)> = tags(&template)
            .into_iter()
            .map(|(tag, around)| {
                let around = around.into_iter().map(|condition| condition.text);
                (tag.text, tag.element, around.collect())
            })
            .collect();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let row = |tag: &str, element, around: &[&str]| (tag.to_owned(), element, texts(around));
        assert_eq!(
            found,
            [
                row("<esi:include src=\"/a\"/>", "esi:include", &[]),
                row(
                    "<esi:include src=\"/b\" alt=\"/c\"/>",
                    "esi:include",
                    &["when $(HTTP_HOST) == 'x' &amp; 1"]
                ),
                row(
                    "<!--#include virtual=\"/d\" -->",
                    "#include",
                    &["otherwise", "<!--#if expr=\"$a = b\" -->"]
                ),
                row("<esi:eval src=\"/e\"/>", "esi:eval", &[]),
                row(
                    "<esi:include src=\"/f\" maxwait=\"5\" onerror=\"continue\"/>",
                    "esi:include",
                    &["except: only when the attempt fails"]
                ),
            ]
        );
    }

    #[test]
    fn attributes_are_read_as_they_are_written() {
        for (tag, wanted) in [
            ("<esi:include src=\"/a\" alt=\"/b?x=$(Y)\"/>", "/b?x=$(Y)"),
            ("<esi:include alt='/b' src=/a>", "/b"),
            ("<esi:include src=/a alt=b>", "b"),
        ] {
            assert_eq!(attribute(tag, "alt"), wanted);
        }
    }
}

//! Findings as people see them.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};

use super::{Diagnostic, Severity, floor};

/// Draws findings about `text`, each followed by an empty line. What a finding costs does not depend on how long the text or
/// its lines are, unless it points at a second place.
pub fn render(path: &Path, text: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = renderer(color);
    let path = path.display().to_string();
    diagnostics
        .iter()
        .map(|diagnostic| draw(&renderer, &path, text, diagnostic) + "\n\n")
        .collect()
}

fn draw(renderer: &Renderer, path: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut title = level.primary_title(&diagnostic.message);
    if let Some(code) = diagnostic.code {
        title = title.id(code);
    }
    let window = Window::of(text, diagnostic);
    let origin = if window.cut {
        format!("{path}:{}:{}", diagnostic.line, diagnostic.column)
    } else {
        path.to_owned()
    };
    let emitted = diagnostic.emitted.iter().map(|text| {
        let level = Level::NOTE.with_name("emitted");
        level.message(normalize_untrusted_str(text))
    });
    let help = diagnostic
        .help
        .iter()
        .map(|text| Level::HELP.message(normalize_untrusted_str(text)));
    let group = if diagnostic.span == (0..0) {
        title.element(Origin::path(&origin))
    } else {
        title.element(snippet(&origin, text, &window, diagnostic))
    };
    let drawn = renderer.render(&[group.elements(emitted).elements(help)]);
    if !window.cut {
        return drawn;
    }
    // The renderer appends the place in what it was given to the origin, in which the true place stands already.
    let (line, column) = (diagnostic.line, diagnostic.column);
    let counted = window.text[..window.span.start].chars().count() + 1;
    let place = format!(":{line}:{column}");
    drawn.replacen(&format!("{place}:{line}:{counted}"), &place, 1)
}

/// An error that has no place.
pub fn render_title(message: &str, color: bool) -> String {
    let title = Level::ERROR.primary_title(message);
    format!("{}\n", renderer(color).render(&[Group::with_title(title)]))
}

/// `2 errors, 1 warning`; what there is none of is left out.
pub fn count<'d>(diagnostics: impl IntoIterator<Item = &'d Diagnostic>) -> String {
    let (mut errors, mut warnings) = (0, 0);
    for diagnostic in diagnostics {
        match diagnostic.severity {
            Severity::Error => errors += 1,
            Severity::Warning => warnings += 1,
        }
    }
    let of = |found: usize, word: &str| format!("{found} {word}{}", plural(found));
    match (errors, warnings) {
        (_, 0) => of(errors, "error"),
        (0, _) => of(warnings, "warning"),
        _ => format!("{}, {}", of(errors, "error"), of(warnings, "warning")),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn snippet<'a>(
    origin: &'a str,
    text: &'a str,
    window: &Window<'a>,
    diagnostic: &'a Diagnostic,
) -> Snippet<'a, Annotation<'a>> {
    let primary = |span: &Range<usize>| AnnotationKind::Primary.span(span.clone());
    match &diagnostic.also {
        Some((also, label)) => Snippet::source(text)
            .annotation(primary(&diagnostic.span))
            .annotation(AnnotationKind::Context.span(also.clone()).label(label)),
        None => Snippet::source(window.text)
            .line_start(diagnostic.line)
            .annotation(primary(&window.span)),
    }
    .path(origin)
}

/// As much of a line as is worth drawing.
struct Window<'t> {
    text: &'t str,
    /// The part of it that is underlined.
    span: Range<usize>,
    /// Whether the line starts before it.
    cut: bool,
}

/// Bytes of a line that are given to the renderer on either side of where a span starts. It cuts them to its width of 140
/// columns, and shows that it does; the window is what makes its work independent of the length of lines.
const AROUND: usize = 600;

/// Bytes of a span that are underlined: some columns less than the renderer's width.
const UNDERLINED: usize = 110;

impl<'t> Window<'t> {
    fn of(text: &'t str, diagnostic: &Diagnostic) -> Self {
        let span = &diagnostic.span;
        let from = floor(text, span.start.saturating_sub(AROUND));
        let to = floor(text, span.start.saturating_add(AROUND));
        let start = text[from..span.start].rfind('\n').map(|end| from + end + 1);
        // With its line end, by which the renderer knows that a carriage return is part of it.
        let end = text[span.start..to].find('\n');
        let end = end.map_or(to - span.start, |length| length + 1);
        let shown = start.unwrap_or(from)..span.start + end;
        let last = floor(text, span.start.saturating_add(UNDERLINED));
        Self {
            text: &text[shown.clone()],
            span: span.start - shown.start..span.end.min(last).min(shown.end) - shown.start,
            cut: start.is_none() && from > 0 && diagnostic.also.is_none(),
        }
    }
}

fn renderer(color: bool) -> Renderer {
    if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    }
}

//! A plan for people, and as JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::compose::plan::outline::Condition;
use crate::cli::compose::plan::recorder::Asked;
use crate::cli::compose::plan::{Step, When};

/// What a page would fetch.
#[derive(Debug)]
pub struct Plan {
    /// The page's name for people.
    pub(super) page: String,
    /// Its URL.
    pub(super) url: String,
    pub(super) steps: Vec<Step>,
    /// Whether what fragments include is known.
    pub(super) read_ahead: bool,
}

/// How many fetches there are of each kind, all depths.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    now: usize,
    on_failure: usize,
    never: usize,
}

impl Plan {
    /// One step a paragraph, in the order of the page; what a fragment includes is indented below it.
    pub fn text(&self) -> String {
        let mut counts = Counts::default();
        counts.add(&self.steps);
        let mut text = format!("{} {}\n", self.page, self.url);
        for step in &self.steps {
            step.write(&mut text, 1);
        }
        let _ = writeln!(text, "{}", counts.words());
        if !self.read_ahead && counts.now + counts.on_failure > 0 {
            text.push_str(
                "what fragments include themselves is known only once they are fetched\n",
            );
        }
        text
    }

    /// The same, for programs.
    pub fn json(&self) -> String {
        let mut counts = Counts::default();
        counts.add(&self.steps);
        let plan = json!({
            "page": self.page,
            "url": self.url,
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
            "fetches": counts.now,
            "fetches_on_failure": counts.on_failure,
            "not_for_this_request": counts.never,
            "fragments_read": self.read_ahead,
        });
        format!("{plan:#}\n")
    }
}

impl Counts {
    fn add(&mut self, steps: &[Step]) {
        for step in steps {
            let sent = step.requests.iter().filter(|asked| asked.request.is_some());
            let fallen_back = step.requests.iter().filter(|asked| asked.alt.is_some());
            let (sent, fallen_back) = (sent.count(), fallen_back.count());
            match step.when {
                When::Now => {
                    self.now += sent + fallen_back;
                    self.on_failure += step.alts.len().saturating_sub(fallen_back);
                }
                When::OnFailure => self.on_failure += sent + step.alts.len(),
                When::Never => self.never += 1,
            }
            self.add(&step.steps);
        }
    }

    fn words(self) -> String {
        let mut words = match self.now {
            0 => "nothing to fetch".to_owned(),
            1 => "1 fetch".to_owned(),
            many => format!("{many} fetches"),
        };
        if self.on_failure > 0 {
            let _ = write!(words, ", up to {} more where one fails", self.on_failure);
        }
        if self.never > 0 {
            let _ = write!(words, ", {} not for this request", self.never);
        }
        words
    }
}

impl Step {
    /// Writing to a string cannot fail, so what it returns is dropped.
    fn write(&self, text: &mut String, indent: usize) {
        let margin = "  ".repeat(indent);
        let place = format!("{}:{}", self.line, self.column);
        if self.requests.is_empty() {
            let _ = writeln!(
                text,
                "{margin}{place} not for this request: {}",
                self.tag.text
            );
        }
        let mut place = place;
        let mut lines: Vec<(String, usize)> = Vec::new();
        for asked in &self.requests {
            let line = self.line_of(asked);
            match lines.last_mut() {
                Some((last, times)) if *last == line => *times += 1,
                _ => lines.push((line, 1)),
            }
        }
        for (line, times) in lines {
            let times = if times > 1 {
                format!(" ({times} times)")
            } else {
                String::new()
            };
            let _ = writeln!(text, "{margin}{place} {line}{times}");
            // Further rounds of a loop stand below the first.
            place = " ".repeat(place.len());
        }
        let margin = format!("{margin}    ");
        for detail in self.details() {
            let _ = writeln!(text, "{margin}{detail}");
        }
        if let Some(first) = self.steps.first() {
            let _ = writeln!(text, "{margin}{} (depth {}):", first.file, first.depth);
        }
        for step in &self.steps {
            step.write(text, indent + 3);
        }
    }

    fn line_of(&self, asked: &Asked) -> String {
        let when = match self.when {
            When::OnFailure => "on failure ",
            When::Now | When::Never => "",
        };
        let failure = asked
            .failure
            .as_ref()
            .filter(|_| self.when == When::Now)
            .map_or(String::new(), |failure| format!(": {failure}"));
        let Some(request) = &asked.request else {
            return format!("{when}{}{failure}", self.tag.text);
        };
        let mut line = format!("{when}{} {}", self.tag.method, request.url);
        if self.tag.element != "esi:include" {
            let _ = write!(line, " ({})", self.tag.element);
        }
        if let Some(entity) = &request.entity {
            let _ = write!(line, " with the body {:?}", String::from_utf8_lossy(entity));
        }
        line + &failure
    }

    fn details(&self) -> Vec<String> {
        let tag = &self.tag;
        let mut details = Vec::new();
        for alt in &self.alts {
            details.push(format!("alt {} {alt}", tag.method));
        }
        if let Some(stub) = &tag.stub {
            details.push(format!("stub {stub}"));
        }
        if tag.on_error_continue {
            details.push("onerror continue".to_owned());
        }
        if let Some(wait) = tag.max_wait {
            details.push(format!("maxwait {}", words(wait)));
        }
        if let Some(ttl) = tag.ttl {
            details.push(format!("ttl {}", words(ttl)));
        }
        if tag.no_store {
            details.push("no-store".to_owned());
        }
        if let Some(dca) = tag.dca {
            details.push(format!("dca {dca}"));
        }
        details.extend(self.conditions.iter().map(Condition::words));
        details.extend(self.known_later());
        if self.shown_before {
            details.push("includes what stands above at the same URL".to_owned());
        }
        details
    }

    /// What only the fragment itself can tell.
    fn known_later(&self) -> Option<String> {
        if self.when == When::Never || self.read {
            return None;
        }
        if self.tag.element == "esi:eval" {
            return Some(
                "evaluated in this document: what it includes and sets is known only once it is fetched"
                    .to_owned(),
            );
        }
        let name = self.tag.set.as_ref()?;
        Some(format!(
            "its body becomes ${name}: known only once it is fetched"
        ))
    }

    fn json(&self) -> Value {
        let tag = &self.tag;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        json!({
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "element": tag.element,
            "tag": tag.text,
            "depth": self.depth,
            "fetched": match self.when {
                When::Now => "yes",
                When::OnFailure => "on failure",
                When::Never => "no",
            },
            "requests": self.requests.iter().map(Asked::json).collect::<Vec<_>>(),
            "method": tag.method,
            "alt": self.alts,
            "onerror": tag.on_error_continue.then_some("continue"),
            "maxwait_seconds": seconds(tag.max_wait),
            "ttl_seconds": seconds(tag.ttl),
            "no_store": tag.no_store,
            "dca": tag.dca,
            "stub": tag.stub,
            "set": tag.set,
            "wait": tag.wait || tag.set.is_some() || tag.element == "esi:eval",
            "conditions": self.conditions.iter().map(Condition::json).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(Self::json).collect::<Vec<_>>(),
        })
    }
}

impl Asked {
    fn json(&self) -> Value {
        let request = self.request.as_ref();
        let entity = request.and_then(|request| request.entity.as_ref());
        json!({
            "url": request.map(|request| request.url.to_string()),
            "entity": entity.map(|entity| String::from_utf8_lossy(entity)),
            "failure": self.failure.as_ref().map(ToString::to_string),
        })
    }
}

impl Condition {
    fn words(&self) -> String {
        match self.place {
            Some((line, column)) => format!("{} ({line}:{column})", self.text),
            None => self.text.clone(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "text": self.text,
            "line": self.place.map(|(line, _)| line),
            "column": self.place.map(|(_, column)| column),
        })
    }
}

fn words(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

//! One value of the file, read as what its key accepts; anything else is refused with both told.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::config::error::Diagnostic;
use crate::config::file::faults::{Faults, error, warning};
use crate::config::pattern::Network;
use crate::config::size::{ByteSize, parse_duration};
use crate::diagnostic::nearest;

/// One value with the name and the place that a refusal tells.
pub(super) struct Setting<'a> {
    /// `server.listen`
    pub(super) name: String,
    pub(super) value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
    pub(super) faults: &'a Faults<'a>,
    /// Whether it is one of a list's.
    item: bool,
}

impl<'a> Setting<'a> {
    pub(super) fn new(
        name: String,
        value: &'a Spanned<DeValue<'a>>,
        faults: &'a Faults<'a>,
    ) -> Self {
        Self {
            name,
            value: value.get_ref(),
            span: value.span(),
            faults,
            item: false,
        }
    }

    /// An error at this value.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        error(self.span.clone(), message)
    }

    /// Refuses the value as none of what is accepted.
    pub(super) fn refuse<T>(&self, accepted: impl AsRef<str>) -> Option<T> {
        let verb = if self.item { "hold" } else { "be" };
        let read = describe(self.value);
        let fault = self.error(format!("`{}` cannot {verb} {read}", self.name));
        self.faults
            .report(fault.help(format!("accepted: {}", accepted.as_ref())));
        None
    }

    /// A string, or refused with what is accepted.
    pub(super) fn text(&self, accepted: &str) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.refuse(accepted),
        }
    }

    /// A string that `parse` takes.
    pub(super) fn parsed<T>(
        &self,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(accepted)?;
        parse(text).or_else(|| self.refuse(accepted))
    }

    /// The values of a list.
    pub(super) fn items(&self, accepted: &str) -> Option<Vec<Setting<'a>>> {
        match self.value {
            DeValue::Array(values) => Some(values.iter().map(|value| self.item(value)).collect()),
            _ => self.refuse(accepted),
        }
    }

    fn item(&self, value: &'a Spanned<DeValue<'a>>) -> Setting<'a> {
        Self {
            item: true,
            ..Self::new(self.name.clone(), value, self.faults)
        }
    }

    /// A list whose values `read` takes; those that it refuses are left out, since the file is refused as a whole then.
    pub(super) fn list<T>(
        &self,
        accepted: &str,
        read: impl FnMut(&Setting<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.items(accepted)?;
        Some(items.iter().filter_map(read).collect())
    }

    /// One of a few words.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<String> = choices
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect();
        let accepted = words.join(", ");
        let text = self.text(&accepted)?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if let Some((_, value)) = chosen {
            return Some(value.clone());
        }
        match nearest(text, choices.iter().map(|(word, _)| *word)) {
            Some(word) => self.refuse(format!("{accepted}; did you mean {word:?}?")),
            None => self.refuse(accepted),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(setting: &Setting<'_>) -> Option<bool> {
    match setting.value {
        DeValue::Boolean(value) => Some(*value),
        _ => setting.refuse("true or false"),
    }
}

/// A whole number in `range`.
pub(super) fn count(range: RangeInclusive<usize>) -> impl Fn(&Setting<'_>) -> Option<usize> {
    move |setting| {
        let number = match setting.value {
            DeValue::Integer(digits) => usize::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).or_else(|| {
            let (least, most) = (range.start(), range.end());
            setting.refuse(format!("a whole number from {least} to {most}"))
        })
    }
}

/// A duration of at least a millisecond: where zero would mean that nothing ever succeeds, or be taken for "no limit".
pub(super) fn timeout(setting: &Setting<'_>) -> Option<Duration> {
    duration_from(setting, 1)
}

/// A duration that may be zero.
pub(super) fn delay(setting: &Setting<'_>) -> Option<Duration> {
    duration_from(setting, 0)
}

/// Longer waits are mistakes, and would overflow the clock of some systems.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn duration_from(setting: &Setting<'_>, least: u64) -> Option<Duration> {
    let accepted = format!(
        "a duration from \"{least}{}\" to \"24h\", in \"ms\", \"s\", \"m\" or \"h\"",
        if least == 0 { "s" } else { "ms" }
    );
    setting.parsed(&accepted, |text| {
        parse_duration(text)
            .filter(|duration| (Duration::from_millis(least)..=LONGEST).contains(duration))
    })
}

/// A size in `range`.
pub(super) fn size(range: RangeInclusive<ByteSize>) -> impl Fn(&Setting<'_>) -> Option<ByteSize> {
    move |setting| {
        let accepted = format!(
            "a size from \"{}\" to \"{}\", in \"B\", \"KiB\", \"MiB\" or \"GiB\"",
            range.start(),
            range.end()
        );
        setting.parsed(&accepted, |text| {
            ByteSize::parse(text).filter(|size| range.contains(size))
        })
    }
}

/// What is said of an address to listen on.
pub(super) const LISTENER: &str =
    "an IP address and port, such as \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::1]:8080\"";

/// An address to listen on.
pub(super) fn listener(setting: &Setting<'_>) -> Option<SocketAddr> {
    setting.parsed(LISTENER, |text| text.parse().ok())
}

/// A list of networks; `everybody` tells what it means to name all of them.
pub(super) fn networks(everybody: &str) -> impl Fn(&Setting<'_>) -> Option<Vec<Network>> {
    move |setting| {
        let accepted = "a list of networks, such as [\"10.0.0.0/8\", \"::1\"]";
        setting.list(accepted, |item| network(item, everybody))
    }
}

fn network(setting: &Setting<'_>, everybody: &str) -> Option<Network> {
    let accepted = "a network, such as \"10.0.0.0/8\", \"127.0.0.1\" or \"fd00::/8\"";
    let network = setting.parsed(accepted, Network::parse)?;
    if network.is_everything() {
        let message = format!("`{}` holds every address", setting.name);
        let warning = warning(setting.span.clone(), message);
        setting.faults.report(warning.help(everybody));
    }
    Some(network)
}

/// A list of names of cookies.
pub(super) fn cookie_names(setting: &Setting<'_>) -> Option<Vec<String>> {
    let accepted = "a list of names of cookies, such as [\"session\"]";
    setting.list(accepted, cookie_name)
}

/// The name of a cookie: a token of RFC 9110 5.6.2, as RFC 6265 4.1.1 wants it.
fn cookie_name(setting: &Setting<'_>) -> Option<String> {
    setting.parsed("the name of a cookie, such as \"session\"", |text| {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        (!text.is_empty() && text.bytes().all(token)).then(|| text.to_owned())
    })
}

/// Longest text of a value that a message repeats.
const REPEATED: usize = 60;

/// A value as a message names it.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", shortened(text)),
        DeValue::Integer(number) => format!("the integer {}", shortened(&number.to_string())),
        DeValue::Float(number) => format!("the float {}", shortened(number.as_str())),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(values) if values.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(REPEATED) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

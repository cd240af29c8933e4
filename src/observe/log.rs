//! The log for operators: lines on standard error.
//!
//! Whatever clients and origins send may end up in a field, so control characters leave escaped: no field can start a line of
//! its own or speak to a terminal.

use std::fmt::{self, Write};
use std::io::{self, IsTerminal};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{FormatFields, Writer, debug_fn};

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is neither a level nor a list of directives.
    #[error(
        "`{level}` is not a log level: error, warn, info, debug, trace, or directives such as `info,marquetry::upstream=debug`"
    )]
    Level {
        /// What was read.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("the log is set up already")]
    Again,
}

/// Sends events of this level (or of these directives) to standard error from now on, for the whole process.
pub fn start(level: &str) -> Result<(), LogError> {
    let filter = filter(level)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour(
            io::stderr().is_terminal(),
            std::env::var_os("NO_COLOR"),
        ))
        .fmt_fields(fields())
        .try_init()
        .map_err(|_| LogError::Again)
}

/// What `log.level` says; its check is the same as that of the configuration.
pub fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|source| LogError::Level {
        level: level.to_owned(),
        source,
    })
}

/// Colour is for terminals, unless `NO_COLOR` is set to anything but the empty string.
fn colour(terminal: bool, no_color: Option<std::ffi::OsString>) -> bool {
    terminal && no_color.is_none_or(|value| value.is_empty())
}

/// Writes fields as `name=value`, the message without its name.
fn fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    debug_fn(
        |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
            if field.name() != "message" {
                write!(writer, "{field}=")?;
            }
            write!(Escaped(writer), "{value:?}")
        },
    )
    .delimited(" ")
}

/// Passes text on with its control characters escaped.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if is_unseen(character) {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Control characters, line separators, and those that turn the direction of writing: a reader would not see what is there.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(event: impl FnOnce()) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer({
                let lines = lines.clone();
                move || lines.clone()
            })
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(fields())
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_stay_on_their_line() {
        let evil = "/x\r\n INFO forged\u{1b}[31m\u{9b}\u{2028}\u{202e}";
        let line = logged(|| tracing::info!(url = %evil, text = evil, "found {evil}"));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.ends_with('\n'));
        assert!(!line.trim_end().contains(is_unseen), "{line:?}");
        assert!(line.contains(r"url=/x\r\n INFO forged\u{1b}[31m"), "{line}");
    }

    #[test]
    fn plain_fields_read_plainly() {
        let line = logged(|| tracing::warn!(upstream = "app", waited = 3, "no server is free"));
        assert_eq!(
            line.trim(),
            r#"WARN no server is free upstream="app" waited=3"#
        );
    }

    #[test]
    fn colour_is_for_terminals() {
        let rows = [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (false, None, false),
        ];
        for (terminal, no_color, wanted) in rows {
            assert_eq!(colour(terminal, no_color.map(Into::into)), wanted);
        }
    }

    #[test]
    fn levels_are_checked() {
        for good in ["info", "warn,marquetry::upstream=debug"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        assert!(filter("info,marquetry=loud").is_err());
    }
}

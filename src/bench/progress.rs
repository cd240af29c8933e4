//! The live line on standard error: what has come so far. Written where it is a terminal, and wiped at the end.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts that workers raise and the line shows.
#[derive(Debug)]
pub struct Progress {
    shown: bool,
    begun: Instant,
    /// How much there will be in all, if that is known.
    requests: Option<u64>,
    time: Option<Duration>,
    answers: AtomicU64,
    others: AtomicU64,
    faults: AtomicU64,
}

impl Progress {
    /// For a run of so many requests, or so long.
    pub fn new(requests: Option<u64>, time: Option<Duration>) -> Self {
        Self {
            shown: std::io::stderr().is_terminal(),
            begun: Instant::now(),
            requests,
            time,
            answers: AtomicU64::new(0),
            others: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// An answer has come.
    pub fn answer(&self, status: u16) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if !(200..300).contains(&status) {
            self.others.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request has failed.
    pub fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the line anew.
    pub fn draw(&self) {
        if self.shown {
            let mut error = std::io::stderr().lock();
            // A terminal that has gone needs no line.
            let _ = write!(error, "\r\x1b[K{}", self.line(self.begun.elapsed()));
            let _ = error.flush();
        }
    }

    /// Wipes it.
    pub fn wipe(&self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let answers = self.answers.load(Ordering::Relaxed);
        let faults = self.faults.load(Ordering::Relaxed);
        let others = self.others.load(Ordering::Relaxed);
        let seconds = elapsed.as_secs_f64();
        let share = match (self.requests, self.time) {
            (Some(all), _) if all > 0 => (answers + faults) as f64 / all as f64,
            (_, Some(time)) if !time.is_zero() => seconds / time.as_secs_f64(),
            _ => 0.0,
        };
        let rate = if seconds > 0.0 {
            answers as f64 / seconds
        } else {
            0.0
        };
        format!(
            "{:3.0} %  {seconds:.0} s  {answers} answers  {rate:.0}/s  {others} not 2xx  {faults} failed",
            share.min(1.0) * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_has_come() {
        let progress = Progress::new(Some(10), None);
        progress.answer(200);
        progress.answer(404);
        progress.fault();
        let line = progress.line(Duration::from_secs(2));
        assert_eq!(line, " 30 %  2 s  2 answers  1/s  1 not 2xx  1 failed");
        let timed = Progress::new(None, Some(Duration::from_secs(4)));
        assert!(timed.line(Duration::from_secs(5)).starts_with("100 %"));
    }
}

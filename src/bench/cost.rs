//! What the tool itself costs: processor time of the thread that asks, as Linux counts it. Elsewhere it is not known.

use std::time::Duration;

/// Processor time of this thread since it began.
pub fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

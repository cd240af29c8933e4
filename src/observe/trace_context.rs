//! `traceparent` of W3C Trace Context: which trace a request belongs to.
//!
//! We hand the trace on and take part in it with a span id of our own; we export no spans.

use std::fmt;

/// A `traceparent` header, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// The flag by which the caller says that it may record the trace.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// The start of a trace. It is marked as sampled, because tracing libraries follow the mark of their parent: without it,
    /// applications that trace today would fall silent behind the gateway.
    pub fn fresh() -> Self {
        Self {
            trace_id: rand::random::<u128>().max(1),
            span_id: span_id(),
            flags: SAMPLED,
        }
    }

    /// What a trusted caller sent; `None` when it is not valid (then it counts as not sent, section 3.2.2 there).
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hex(bytes.get(..2)?)? as u8;
        let dashes = [2, 35, 52].map(|at| bytes.get(at) == Some(&b'-'));
        let end = match (version, bytes.get(55)) {
            // Version ff does not exist, and version 00 has nothing more.
            (0xff, _) | (0, Some(_)) => false,
            (_, None) => bytes.len() == 55,
            // What a later version appends is not ours to read.
            (_, Some(byte)) => *byte == b'-',
        };
        if dashes.contains(&false) || !end {
            return None;
        }
        let trace_id = hex(bytes.get(3..35)?)?;
        let span_id = hex(bytes.get(36..52)?)? as u64;
        let flags = hex(bytes.get(53..55)?)? as u8;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            // Of a later version only the one flag is known that version 00 has.
            flags: if version == 0 { flags } else { flags & SAMPLED },
        })
    }

    /// A step further in the same trace: what goes upstream with one fetch.
    pub fn child(self) -> Self {
        Self {
            span_id: span_id(),
            ..self
        }
    }

    /// The trace's id as 32 hexadecimal digits, for logs.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// A random span id; zero would be invalid.
fn span_id() -> u64 {
    rand::random::<u64>().max(1)
}

/// At most 32 hexadecimal digits in lower case, as the format demands.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn valid_parents_are_read() {
        let rows = [
            (GOOD, GOOD),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
            ),
            (
                "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-more",
                GOOD,
            ),
            (
                "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                GOOD,
            ),
        ];
        for (given, read) in rows {
            let context = TraceContext::parse(given).map(|context| context.to_string());
            assert_eq!(context.as_deref(), Some(read), "{given}");
        }
    }

    #[test]
    fn invalid_parents_are_not() {
        let rows = [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "00-ääääääääääääääääääääääääääääääää-b7ad6b7169203331-01",
        ];
        for given in rows {
            assert_eq!(TraceContext::parse(given), None, "{given}");
        }
    }

    #[test]
    fn a_child_keeps_the_trace_and_the_flags() {
        let parent = TraceContext::parse(GOOD).unwrap();
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_eq!(child.flags, parent.flags);
        assert_ne!(child.span_id, parent.span_id);
        assert_eq!(TraceContext::parse(&child.to_string()), Some(child));
    }

    #[test]
    fn a_fresh_trace_is_valid() {
        let fresh = TraceContext::fresh();
        assert_eq!(TraceContext::parse(&fresh.to_string()), Some(fresh));
    }
}

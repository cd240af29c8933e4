//! What a page will emit, in order: lists of pieces, some of which wait for fragments, and the cursor that turns them into
//! bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::compose::coder::Coder;
use crate::compose::document::Unit;
use crate::compose::include::{Slot, State};
use crate::compose::runs::Run;
use crate::expr::escape::append_json;
use crate::template::tree::Span;

/// Pieces in order. The page is one, and so is each fragment, each attempt, each inline.
#[derive(Debug, Default)]
pub(super) struct List {
    pieces: Vec<Piece>,
    /// The bytes of its values, one after the other.
    values: Vec<u8>,
    /// Whether values that follow each other become one piece. Never where a coder is told what each piece is: a user's secret and a
    /// visitor's choice would be one to it.
    joins: bool,
    /// Whether the last piece is values that grow: it reaches to their end, wherever that is by now.
    grows: bool,
    /// Whether nothing will be added.
    pub(super) complete: bool,
    /// Whether it must not be emitted yet: an attempt whose outcome is open.
    pub(super) held: bool,
    /// Whether all of it goes into a string of a JSON document.
    pub(super) in_string: bool,
    pub(super) becomes: Becomes,
}

/// What a list is collected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Becomes {
    /// Text: values are escaped as they go in.
    #[default]
    Text,
    /// A value: those in it go in as they are, and it is tainted when one of them is.
    Value {
        /// Whether one of them is.
        tainted: bool,
    },
}

impl Becomes {
    /// The same, with this much taint more.
    pub(super) fn with(self, more: bool) -> Self {
        match self {
            Self::Text => Self::Text,
            Self::Value { tainted } => Self::Value {
                tainted: tainted || more,
            },
        }
    }

    pub(super) fn is_tainted(self) -> bool {
        self == Self::Value { tainted: true }
    }
}

/// A piece of output.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes of a document.
    Text(u32, Span),
    /// Shared bytes: a fragment.
    Bytes(Bytes),
    /// Values, or text that was copied between them: where they start and end among those of their list. While they grow they end
    /// at `usize::MAX`.
    Value(usize, usize),
    /// A stretch that was composed before.
    Run(Arc<Run>),
    /// What an include brings.
    Slot(usize),
    /// Another list.
    List(usize),
}

/// Text up to this length is copied where values are joined: a piece of its own would cost more.
pub(super) const COPIED: usize = 128;

/// Where the first value goes there is room for this much.
const ROOM: usize = 512;

impl List {
    pub(super) fn new(joins: bool) -> Self {
        Self {
            joins,
            ..Self::default()
        }
    }

    /// Whether values and short text become one piece here.
    pub(super) fn joins(&self) -> bool {
        self.joins
    }

    /// Its pieces by now.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Appends a piece that is no value.
    pub(super) fn push(&mut self, piece: Piece) {
        self.seal();
        self.pieces.push(piece);
    }

    /// Appends what is written as a value; gives its length.
    #[inline]
    pub(super) fn push_value(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.values.len();
        if !self.grows {
            self.begin_value(start);
        }
        write(&mut self.values);
        let length = self.values.len() - start;
        if !self.joins {
            self.seal();
        }
        length
    }

    #[cold]
    fn begin_value(&mut self, start: usize) {
        if self.values.capacity() == 0 {
            self.values.reserve(ROOM);
        }
        self.pieces.push(Piece::Value(start, usize::MAX));
        self.grows = true;
    }

    /// Ends the values at the end, so that they can be emitted although the list goes on.
    pub(super) fn seal(&mut self) {
        if !std::mem::take(&mut self.grows) {
            return;
        }
        let here = self.values.len();
        // It stays where it is, even when it is empty: others have counted the pieces.
        if let Some(Piece::Value(_, end)) = self.pieces.last_mut() {
            *end = here;
        }
    }

    /// All of it, when it is values and nothing else.
    pub(super) fn take_values(&mut self) -> Option<Bytes> {
        match &self.pieces[..] {
            [Piece::Value(0, _)] if self.grows && self.complete && !self.in_string => {
                let values = std::mem::take(&mut self.values);
                self.clear();
                Some(values.into())
            }
            _ => None,
        }
    }

    /// Takes out all that it holds.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.values.clear();
        self.grows = false;
    }

    fn value(&self, start: usize, end: usize) -> &[u8] {
        let end = end.min(self.values.len());
        self.values.get(start..end).unwrap_or_default()
    }
}

/// What a cursor reads.
#[derive(Clone, Copy)]
pub(super) struct Pages<'p> {
    pub(super) units: &'p [Unit],
    pub(super) lists: &'p [List],
    pub(super) slots: &'p [Slot],
}

/// How far output has come.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The lists being read, outermost first: the list, the next piece, whether its output goes into a JSON string.
    stack: Vec<(usize, usize, bool)>,
    /// A large piece that has been read and waits for its own frame.
    large: Option<Bytes>,
}

/// What bytes are.
#[derive(Clone, Copy)]
enum Kind<'p> {
    /// Text of this unit.
    Text(u32),
    /// Bytes that can be sent without a copy.
    Shared(&'p Bytes),
    Run(&'p Arc<Run>),
    Value,
}

/// What stands next in the output.
enum Next<'p> {
    Bytes(&'p [u8], Kind<'p>, bool),
    Waiting,
    End,
}

/// Pieces from this size on are sent as they are when a page streams, not copied together with their neighbours.
const SENT_ALONE: usize = 64 * 1024;

/// A frame of copied pieces is not made larger than this.
const FRAME: usize = 256 * 1024;

impl Cursor {
    /// At the start of a list.
    pub(super) fn new(list: usize) -> Self {
        Self {
            stack: vec![(list, 0, false)],
            large: None,
        }
    }

    /// The next bytes and a step over them. `Waiting` takes no step.
    fn next<'p>(&mut self, pages: Pages<'p>) -> Next<'p> {
        loop {
            let Some(top) = self.stack.last_mut() else {
                return Next::End;
            };
            let list = &pages.lists[top.0];
            let in_string = top.2 || list.in_string;
            if list.held {
                return Next::Waiting;
            }
            let Some(piece) = list.pieces.get(top.1) else {
                if !list.complete {
                    return Next::Waiting;
                }
                self.stack.pop();
                continue;
            };
            let inner = match piece {
                Piece::Text(unit, span) => {
                    top.1 += 1;
                    return Next::Bytes(
                        pages.units[*unit as usize].template.text(*span),
                        Kind::Text(*unit),
                        in_string,
                    );
                }
                Piece::Bytes(bytes) => {
                    top.1 += 1;
                    return Next::Bytes(bytes, Kind::Shared(bytes), in_string);
                }
                Piece::Run(run) => {
                    top.1 += 1;
                    return Next::Bytes(run.bytes(), Kind::Run(run), in_string);
                }
                Piece::Value(start, end) => {
                    if *end == usize::MAX && !list.complete {
                        // More may be joined to it.
                        return Next::Waiting;
                    }
                    top.1 += 1;
                    let value = list.value(*start, *end);
                    if value.is_empty() {
                        continue;
                    }
                    return Next::Bytes(value, Kind::Value, in_string);
                }
                Piece::Slot(slot) => match &pages.slots[*slot].state {
                    // What is kept is taken out by the thread that waits for it.
                    State::Waiting
                    | State::Template(_)
                    | State::KeptBytes(_)
                    | State::KeptList(_) => {
                        return Next::Waiting;
                    }
                    State::Empty => {
                        top.1 += 1;
                        continue;
                    }
                    State::Bytes(bytes) => {
                        top.1 += 1;
                        return Next::Bytes(bytes, Kind::Shared(bytes), in_string);
                    }
                    State::List(list) => *list,
                },
                Piece::List(list) => *list,
            };
            top.1 += 1;
            self.stack.push((inner, 0, in_string));
        }
    }

    /// The bytes that can be sent now, as one frame: small pieces copied together, a large one alone. `None`: nothing is at
    /// hand; [`Cursor::at_end`] tells whether something will be.
    pub(super) fn frame(&mut self, pages: Pages<'_>) -> Option<Bytes> {
        if self.large.is_some() {
            return self.large.take();
        }
        let mut frame = BytesMut::with_capacity(self.at_hand(pages).min(FRAME));
        while frame.len() < FRAME {
            match self.next(pages) {
                Next::Bytes(bytes, kind, false) if bytes.len() >= SENT_ALONE => {
                    let shared = match kind {
                        Kind::Shared(shared) => shared,
                        Kind::Run(run) => run.bytes(),
                        Kind::Text(_) | Kind::Value => {
                            frame.extend_from_slice(bytes);
                            continue;
                        }
                    };
                    if frame.is_empty() {
                        return Some(shared.clone());
                    }
                    self.large = Some(shared.clone());
                    break;
                }
                Next::Bytes(bytes, _, in_string) => append(bytes, in_string, &mut frame),
                Next::Waiting | Next::End => break,
            }
        }
        (!frame.is_empty()).then(|| frame.freeze())
    }

    /// The same through a coder. At the end of the page its own ending comes with the last bytes.
    pub(super) fn coded_frame(&mut self, pages: Pages<'_>, coder: &mut dyn Coder) -> Option<Bytes> {
        let mut frame = BytesMut::new();
        while frame.len() < FRAME {
            match self.next(pages) {
                Next::Bytes(_, Kind::Run(run), false) => coder.run(run, &mut frame),
                Next::Bytes(bytes, Kind::Text(unit), false) => {
                    coder.text(unit as usize, bytes, &mut frame);
                }
                Next::Bytes(bytes, _, false) => coder.apart(bytes, &mut frame),
                Next::Bytes(bytes, _, true) => {
                    let mut escaped = BytesMut::new();
                    append(bytes, true, &mut escaped);
                    coder.apart(&escaped, &mut frame);
                }
                Next::Waiting => {
                    coder.flush(&mut frame);
                    break;
                }
                Next::End => {
                    coder.finish(&mut frame);
                    break;
                }
            }
        }
        (!frame.is_empty()).then(|| frame.freeze())
    }

    /// So many bytes can be copied together now, about: what stands in inner lists is not counted.
    fn at_hand(&self, pages: Pages<'_>) -> usize {
        let Some((list, next, _)) = self.stack.last() else {
            return 0;
        };
        let list = &pages.lists[*list];
        let pieces = list.pieces.iter().skip(*next);
        let lengths = pieces.map_while(|piece| match piece {
            Piece::Text(unit, span) => Some(pages.units[*unit as usize].template.text(*span).len()),
            Piece::Bytes(bytes) => Some(bytes.len()),
            Piece::Run(run) => Some(run.bytes().len()),
            Piece::Value(start, end) => Some(list.value(*start, *end).len()),
            Piece::List(_) => Some(0),
            Piece::Slot(slot) => match &pages.slots[*slot].state {
                State::Empty | State::List(_) => Some(0),
                State::Bytes(bytes) => Some(bytes.len()),
                _ => None,
            },
        });
        lengths.take_while(|length| *length < SENT_ALONE).sum()
    }

    /// Whether all has been read.
    pub(super) fn at_end(&self) -> bool {
        self.stack.is_empty() && self.large.is_none()
    }
}

fn append(bytes: &[u8], in_string: bool, out: &mut BytesMut) {
    if in_string {
        let mut escaped = Vec::with_capacity(bytes.len() + bytes.len() / 8);
        append_json(bytes, &mut escaped);
        out.extend_from_slice(&escaped);
    } else {
        out.extend_from_slice(bytes);
    }
}

/// Goes through a list and those in it, in page order, as far as all is here; says whether that is to the end.
fn walk<'p>(list: usize, pages: Pages<'p>, mut give: impl FnMut(&'p [u8], bool)) -> bool {
    let mut outer = Vec::new();
    // The list, the next piece of it, and whether what is around it goes into a JSON string.
    let (mut index, mut at, mut around) = (list, 0, false);
    loop {
        let list = &pages.lists[index];
        if list.held {
            return false;
        }
        let in_string = around || list.in_string;
        let inner = loop {
            let Some(piece) = list.pieces.get(at) else {
                break None;
            };
            at += 1;
            let bytes = match piece {
                Piece::Text(unit, span) => pages.units[*unit as usize].template.text(*span),
                Piece::Bytes(bytes) => bytes,
                Piece::Run(run) => run.bytes(),
                Piece::Value(start, end) => list.value(*start, *end),
                Piece::List(inner) => break Some(*inner),
                Piece::Slot(slot) => match &pages.slots[*slot].state {
                    State::Empty => continue,
                    State::Bytes(bytes) => bytes,
                    State::List(inner) => break Some(*inner),
                    State::Waiting
                    | State::Template(_)
                    | State::KeptBytes(_)
                    | State::KeptList(_) => return false,
                },
            };
            give(bytes, in_string);
        };
        if let Some(inner) = inner {
            outer.push((index, at, around));
            (index, at, around) = (inner, 0, in_string);
        } else if !list.complete {
            return false;
        } else if let Some(back) = outer.pop() {
            (index, at, around) = back;
        } else {
            return true;
        }
    }
}

/// Whether everything in a list is here.
pub(super) fn is_whole(list: usize, pages: Pages<'_>) -> bool {
    walk(list, pages, |_, _| {})
}

/// The length of a whole list, before what stands in strings is escaped.
pub(super) fn length(list: usize, pages: Pages<'_>) -> usize {
    let mut length = 0;
    walk(list, pages, |bytes, _| length += bytes.len());
    length
}

/// A whole list through a coder.
pub(super) fn collect_coded(list: usize, pages: Pages<'_>, coder: &mut dyn Coder) -> Bytes {
    let mut cursor = Cursor::new(list);
    let mut out = BytesMut::new();
    loop {
        match cursor.coded_frame(pages, coder) {
            Some(frame) if out.is_empty() && cursor.at_end() => return frame,
            Some(frame) => out.extend_from_slice(&frame),
            None => return out.freeze(),
        }
        if cursor.at_end() {
            return out.freeze();
        }
    }
}

/// All bytes of a whole list, copied once into one buffer of the right size.
pub(super) fn collect(list: usize, pages: Pages<'_>) -> Bytes {
    let mut out = Vec::with_capacity(length(list, pages));
    walk(list, pages, |bytes, in_string| {
        if in_string {
            append_json(bytes, &mut out);
        } else {
            out.extend_from_slice(bytes);
        }
    });
    out.into()
}

/// The run that a whole list is, when it is one.
pub(super) fn only_run(list: usize, pages: Pages<'_>) -> Option<Arc<Run>> {
    let list = &pages.lists[list];
    match &list.pieces[..] {
        [Piece::Run(run)] if list.complete && !list.held && !list.in_string => {
            Some(Arc::clone(run))
        }
        _ => None,
    }
}

/// The slots of a list in page order, those in nested lists too.
pub(super) fn slots_in_order(list: usize, pages: Pages<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    let mut stack = vec![(list, 0)];
    while let Some((list, at)) = stack.pop() {
        let Some(piece) = pages.lists[list].pieces.get(at) else {
            continue;
        };
        stack.push((list, at + 1));
        match piece {
            Piece::Slot(slot) => {
                found.push(*slot);
                if let State::List(inner) = &pages.slots[*slot].state {
                    stack.push((*inner, 0));
                }
            }
            Piece::List(inner) => stack.push((*inner, 0)),
            _ => {}
        }
    }
    found
}

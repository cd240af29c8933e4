//! A compiled page weighs what it holds: a store that is told so keeps its budget.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use marquetry::template::{Settings, compile};

/// Counts the bytes that this thread has allocated and not given back: others work beside it.
struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

fn live() -> usize {
    LIVE.with(Cell::get)
}

// SAFETY: each call is handed to the system's allocator as it came; counting touches no memory of the caller.
#[allow(unsafe_code)] // The test holds a sum against what is really allocated; there is no safe way to be an allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|live| live.set(live.get().wrapping_add(layout.size())));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get().wrapping_sub(layout.size())));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pages of a hundred rows each: what stands in a row, `@` being its number, and by how much the weight may be larger than what is
/// held.
const ROWS: [(&str, &str, usize); 11] = [
    ("text", "<p>nothing but text, and no tag</p>\n", 2),
    (
        "includes",
        "<esi:include src=\"/price/7?a=1\" alt=\"/b\" onerror=\"continue\" setheader=\"X: y\"/>",
        2,
    ),
    (
        "expressions",
        "<esi:choose><esi:when test=\"$(HTTP_COOKIE{a}) == 'gold' &amp;&amp; $(n) > 3\">x</esi:when></esi:choose>",
        2,
    ),
    (
        "different expressions",
        "<esi:choose><esi:when test=\"$(HTTP_COOKIE{a}) == 'gold@' &amp;&amp; $(n) > 3\">x</esi:when></esi:choose>",
        2,
    ),
    (
        "different constants",
        "<esi:assign name=\"l\" value=\"['a text of some length', 'and another one', [1, 2, @]]\"/>",
        2,
    ),
    (
        "interpolation",
        "<esi:vars>Dear $(HTTP_COOKIE{name|guest}), $upper($(QUERY_STRING{q}))</esi:vars>",
        2,
    ),
    (
        "assigns",
        "<esi:assign name=\"d{'key'}\" value=\"{'a': [1, 2, 'three'], 'b': $(n)}\"/>",
        2,
    ),
    (
        "constants",
        "<esi:assign name=\"l\" value=\"['a text of some length', 'and another one', [1, 2, 3]]\"/>",
        2,
    ),
    (
        "patterns",
        "<esi:choose><esi:when test=\"$(HTTP_HOST) matches '^(a|b)+[0-9]*$'\">x</esi:when></esi:choose>",
        100,
    ),
    (
        "directives",
        "<!--#if expr=\"$a = /^b+/ || ( $c = d )\" --><!--#echo var=\"e\" default=\"f\" --><!--#endif --><!--#set var=\"g\" value=\"h$i\" -->",
        100,
    ),
    (
        "faults",
        "</esi:vars><esi:nothing/><esi:include src='a' src='b'/><esi:assign name=\"a\" value=\"(\"/>",
        2,
    ),
];

#[test]
fn a_compiled_page_weighs_what_it_holds() {
    let settings = Settings::default();
    for (name, row, slack) in ROWS {
        let rows = (0..100).map(|number| row.replace('@', &number.to_string()));
        let document = Bytes::from(rows.collect::<String>());
        // What is made once for the whole process is made now, and the document is shared before it is counted.
        drop(compile(document.clone(), &settings));
        let before = live();
        let template = compile(document.clone(), &settings);
        let held = live() - before;
        let weight = template.weight();
        assert!(weight >= held, "{name}: weighs {weight}, holds {held}");
        assert!(
            weight <= held * slack + 4096,
            "{name}: weighs {weight}, holds {held}"
        );
        drop(template);
        assert_eq!(live(), before, "{name}: all of it is given back");
    }
}

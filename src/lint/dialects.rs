//! What other products know and this language does not: whose it is, and what to write here.

/// A name of another dialect.
pub(super) struct Foreign {
    name: &'static str,
    /// Whose it is.
    pub(super) of: &'static str,
    /// What to write here.
    pub(super) instead: &'static str,
}

const fn foreign(name: &'static str, of: &'static str, instead: &'static str) -> Foreign {
    Foreign { name, of, instead }
}

static ELEMENTS: [Foreign; 8] = [
    foreign(
        "debug",
        "Akamai",
        "remove it; `Server-Timing` and the admin listener tell how a page was composed",
    ),
    foreign(
        "environment",
        "Oracle Web Cache",
        "assign the values with `<esi:assign>`, or take them over with `<esi:eval src=\"…\"/>`",
    ),
    foreign(
        "invalidate",
        "Oracle Web Cache",
        "purge over the admin listener, or with a PURGE request",
    ),
    foreign(
        "log",
        "Oracle Web Cache",
        "remove it; the access log and the admin listener tell of every fragment",
    ),
    foreign(
        "request_header",
        "Oracle Web Cache",
        "write `setheader=\"Name: value\"` in the include",
    ),
    foreign(
        "request_body",
        "Oracle Web Cache",
        "write `method=\"POST\" entity=\"…\"` in the include",
    ),
    foreign(
        "special-include",
        "Traffic Server",
        "write `<esi:include src=\"…\"/>`",
    ),
    foreign(
        "hinclude",
        "HInclude",
        "write `<esi:include src=\"…\"/>`: the gateway includes, not the browser",
    ),
];

static ATTRIBUTES: [Foreign; 7] = [
    foreign("max-age", "Oracle Web Cache", "write `ttl=\"90s\"`"),
    foreign(
        "timeout",
        "Oracle Web Cache",
        "write `maxwait=\"250\"`, in milliseconds",
    ),
    foreign("handler", "Traffic Server", "write `src=\"…\"` alone"),
    foreign(
        "cache-control",
        "LiteSpeed",
        "write `ttl=\"90s\"` or `no-store=\"on\"`",
    ),
    foreign(
        "cache-tag",
        "LiteSpeed",
        "let the fragment's response name its surrogate keys",
    ),
    foreign(
        "combine",
        "LiteSpeed",
        "remove it: the includes of a page are fetched at the same time",
    ),
    foreign(
        "as-var",
        "LiteSpeed",
        "write `<!--#include virtual=\"…\" set=\"name\" -->`",
    ),
];

static DIRECTIVES: [Foreign; 5] = [
    foreign(
        "exec",
        "Apache",
        "pages run no programs here; include what it printed: `<!--#include virtual=\"…\" -->`",
    ),
    foreign(
        "printenv",
        "Apache",
        "show single variables: `<!--#echo var=\"…\" -->`",
    ),
    foreign(
        "fsize",
        "Apache",
        "pages see no files here; let the application write the size",
    ),
    foreign(
        "flastmod",
        "Apache",
        "pages see no files here; let the application write the date",
    ),
    foreign(
        "perl",
        "nginx",
        "pages run no programs here; include what it printed: `<!--#include virtual=\"…\" -->`",
    ),
];

static PARAMETERS: [Foreign; 5] = [
    foreign("sizefmt", "Apache", "remove it: there is no `#fsize`"),
    foreign("echomsg", "Apache", "write `default=\"…\"` in each `#echo`"),
    foreign("decoding", "Apache", "remove it"),
    foreign(
        "onerror",
        "Apache",
        "write `stub=\"name\"`, and the block before it",
    ),
    foreign("cgi", "Apache", "write `virtual=\"…\"`"),
];

static VARIABLES: [Foreign; 3] = [
    foreign(
        "GEO",
        "Akamai",
        "let something in front send a header, and read `$(HTTP_HEADER{Name})`",
    ),
    foreign("TRAFFIC_INFO", "Akamai", "remove it"),
    foreign(
        "REQUEST_URI",
        "Apache",
        "write `$(REQUEST_PATH)?$(QUERY_STRING)`",
    ),
];

fn find(table: &'static [Foreign], name: &str) -> Option<&'static Foreign> {
    table
        .iter()
        .find(|foreign| foreign.name.eq_ignore_ascii_case(name))
}

/// An element, without `esi:`.
pub(super) fn element(name: &str) -> Option<&'static Foreign> {
    find(&ELEMENTS, name)
}

/// An attribute of an ESI element.
pub(super) fn attribute(name: &str) -> Option<&'static Foreign> {
    find(&ATTRIBUTES, name)
}

/// A command of SSI.
pub(super) fn directive(name: &str) -> Option<&'static Foreign> {
    find(&DIRECTIVES, name)
}

/// A parameter of a command.
pub(super) fn parameter(name: &str) -> Option<&'static Foreign> {
    find(&PARAMETERS, name)
}

/// A variable.
pub(super) fn variable(name: &str) -> Option<&'static Foreign> {
    find(&VARIABLES, name)
}

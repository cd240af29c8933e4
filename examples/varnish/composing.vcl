# Varnish in front of Marquetry, composing ESI itself: routes with delegate = true hand it documents with their tags, so that it keeps
# skeletons and shared fragments, and asks Marquetry for the rest. Those who come past it are given composed pages by Marquetry.
# In Marquetry: server.trusted_proxies names this Varnish.
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    # What it can do; Marquetry composes what needs more, such as SSI.
    set req.http.Surrogate-Capability = {"varnish="Surrogate/1.0 ESI/1.0""};

    # Who may have an answer is told by the answer, not by the cookie that asks for it.
    if (req.method == "GET" || req.method == "HEAD") {
        return (hash);
    }
}

sub vcl_backend_response {
    if (beresp.http.Surrogate-Control ~ "ESI/1.0") {
        set beresp.do_esi = true;
    }
    # As the built-in rules, which the mere presence of Surrogate-Control would switch off. A request with a cookie is answered from
    # the store by what says "public" alone, as in Marquetry.
    if (beresp.http.Cache-Control ~ "(?i)(private|no-store|no-cache)" || beresp.http.Set-Cookie || beresp.http.Vary == "*"
        || (bereq.http.Cookie && beresp.http.Cache-Control !~ "(?i)(public|s-maxage)")) {
        set beresp.ttl = 120s;
        set beresp.uncacheable = true;
        return (deliver);
    }
}

sub vcl_deliver {
    # It was said to Varnish; what is delivered is composed.
    unset resp.http.Surrogate-Control;
    unset resp.http.Surrogate-Key;
}

# Varnish in front of Marquetry: it keeps composed pages that are the same for all, as long as their shortest part lives.
#
# Marquetry composes, Varnish does not: do_esi stays off. What Marquetry says of a page (Cache-Control, Vary, no Age) is true of
# all its parts, so nothing of it is overruled here. In Marquetry: server.trusted_proxies and cache.purge_from name this Varnish.
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "8080";
}

acl purgers {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    # Who says what it can do is given the surrogate keys of all parts of a page.
    set req.http.Surrogate-Capability = {"varnish="Surrogate/1.0""};

    if (req.method == "PURGE") {
        if (client.ip !~ purgers) {
            return (synth(405, "Not allowed"));
        }
        if (req.http.Surrogate-Key) {
            # One key a request: spaces would separate several.
            ban("obj.http.Surrogate-Key ~ (^|\s)" + req.http.Surrogate-Key + "(\s|$)");
        } else {
            ban("obj.http.x-url == " + req.url + " && obj.http.x-host == " + req.http.host);
        }
        # Marquetry has a store of its own: the same PURGE goes on to it.
        return (pass);
    }

    # Pages for users are private, and Marquetry says so; they are looked up like all others and found not to be there.
    if (req.method == "GET" || req.method == "HEAD") {
        return (hash);
    }
}

sub vcl_backend_response {
    set beresp.do_esi = false;
    set beresp.http.x-url = bereq.url;
    set beresp.http.x-host = bereq.http.host;
    # As the built-in rules, which the mere presence of Surrogate-Control would switch off.
    if (beresp.http.Cache-Control ~ "(?i)(private|no-store|no-cache)" || beresp.http.Set-Cookie || beresp.http.Vary == "*") {
        set beresp.ttl = 120s;
        set beresp.uncacheable = true;
        return (deliver);
    }
}

sub vcl_deliver {
    unset resp.http.Surrogate-Key;
    unset resp.http.x-url;
    unset resp.http.x-host;
}

# Varnish behind Marquetry, as the page cache: it keeps skeletons, with their tags still in them, for everybody.
#
# Marquetry asks it for pages (a route with forward_cookies = false), fills in the fragments and asks the applications for
# those itself. do_esi stays off. Let the backend be a listener of [[balancers]], so that misses take their places with the fragments,
# and name this Varnish in server.trusted_proxies, so that Surrogate-Capability reaches the applications.
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "8000";
}

acl purgers {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ purgers) {
            return (synth(405, "Not allowed"));
        }
        return (purge);
    }
    # A skeleton is the same for all.
    unset req.http.Cookie;
}

sub vcl_hash {
    # An application writes tags for those who compose and renders in place for others; if it does not say Vary:
    # Surrogate-Capability, both forms would be one.
    hash_data(req.http.Surrogate-Capability);
}

sub vcl_backend_response {
    set beresp.do_esi = false;
    # Stock Varnish stores what is private as soon as Surrogate-Control is there, also where it only declares tags.
    if (beresp.http.Cache-Control ~ "(?i)(private|no-store|no-cache)" && beresp.http.Surrogate-Control !~ "max-age") {
        set beresp.ttl = 120s;
        set beresp.uncacheable = true;
        return (deliver);
    }
}

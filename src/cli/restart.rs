//! What of a configuration is read at start only, so that a reload can say what it does not do.

use crate::config::{Config, ServerConfig};

/// The names of the settings that differ and take a restart.
pub fn needed(running: &Config, wanted: &Config) -> Vec<&'static str> {
    let (old, new) = (&running.server, &wanted.server);
    let differs = [
        ("server.listen", old.listen != new.listen),
        ("server.tls", old.tls != new.tls),
        ("server.threads", old.threads != new.threads),
        (
            "server.max_connections",
            old.max_connections != new.max_connections,
        ),
        (
            "server.drain_timeout",
            old.drain_timeout != new.drain_timeout,
        ),
        ("the limits of [server]", limits(old) != limits(new)),
        ("admin", running.admin != wanted.admin),
        ("log", running.log != wanted.log),
        ("cache.memory", running.cache.memory != wanted.cache.memory),
        (
            "cache.max_object",
            running.cache.max_object != wanted.cache.max_object,
        ),
    ];
    differs
        .into_iter()
        .filter_map(|(setting, differs)| differs.then_some(setting))
        .collect()
}

/// What a listener holds against its clients, and nothing else.
fn limits(server: &ServerConfig) -> ServerConfig {
    ServerConfig {
        listen: Vec::new(),
        tls: None,
        max_connections: 0,
        trusted_proxies: Vec::new(),
        debug_from: Vec::new(),
        drain_timeout: std::time::Duration::ZERO,
        threads: 0,
        ..server.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(server: &str, rest: &str) -> Config {
        let text = format!(
            "[server]\n{server}\n{rest}\n[upstreams.app]\nservers = [\"127.0.0.1:1\"]\n[[routes]]\nupstream = \"app\"\n"
        );
        Config::parse(&text, Path::new("x.toml"))
            .expect("a good file")
            .0
    }

    #[test]
    fn what_takes_a_restart_is_named() {
        let balancer = "[[balancers]]\nlisten = \"127.0.0.1:2\"\nupstream = \"app\"";
        for (server, rest, wanted) in [
            (
                "trusted_proxies = [\"10.0.0.1\"]",
                "[cache]\npurge_from = [\"10.0.0.1\"]",
                vec![],
            ),
            ("listen = \"127.0.0.1:3\"", "", vec!["server.listen"]),
            ("idle_timeout = \"1s\"", "", vec!["the limits of [server]"]),
            (
                "drain_timeout = \"1s\"",
                "[log]\nlevel = \"warn\"",
                vec!["server.drain_timeout", "log"],
            ),
            ("", balancer, vec![]),
            ("", "[admin]", vec!["admin"]),
            ("", "[cache]\nmemory = \"1MiB\"", vec!["cache.memory"]),
        ] {
            let needed = needed(&config("", ""), &config(server, rest));
            assert_eq!(needed, wanted, "{server} {rest}");
        }
    }
}

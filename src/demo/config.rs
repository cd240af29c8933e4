//! What a gateway in front of the bookshop is told: the configuration that a user would write for it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::pattern::{Network, PathPattern, ServerAddress};
use crate::config::{
    AccessLog, AdminConfig, CacheConfig, ComposeConfig, Config, ForwardCookies, IdentityConfig,
    LogConfig, RouteConfig, ServerConfig, ServerEntry, UpstreamConfig,
};
use crate::demo::Addresses;
use crate::demo::app::SESSION_COOKIE;

/// The paths of the app; everything else is the page cache's.
const APP_PATHS: [&str; 5] = ["/fragments/", "/login", "/logout", "/basket", "/reviews"];

/// The configuration for a gateway at `addresses.gateway` with the bookshop behind it.
pub fn config(addresses: &Addresses) -> Config {
    let mut app = upstream(&addresses.apps);
    app.max_in_flight = 1;
    Config {
        server: ServerConfig {
            listen: vec![addresses.gateway],
            debug_from: ["127.0.0.0/8", "::1"]
                .into_iter()
                .filter_map(Network::parse)
                .collect(),
            drain_timeout: Duration::from_secs(5),
            ..ServerConfig::default()
        },
        admin: addresses.admin.map(|listen| AdminConfig {
            listen,
            token_file: None,
        }),
        log: LogConfig {
            level: "warn".to_owned(),
            access: AccessLog::Off,
        },
        identity: IdentityConfig {
            session_cookies: vec![SESSION_COOKIE.to_owned()],
        },
        cache: CacheConfig::default(),
        balancers: Vec::new(),
        compose: ComposeConfig::default(),
        upstreams: [
            ("app".to_owned(), app),
            ("pages".to_owned(), upstream(&[addresses.pages])),
        ]
        .into(),
        routes: routes(),
    }
}

fn upstream(servers: &[SocketAddr]) -> UpstreamConfig {
    let entry = |server: &SocketAddr| ServerEntry {
        address: ServerAddress::Socket(*server),
        weight: 1,
    };
    UpstreamConfig::new(servers.iter().map(entry).collect())
}

fn routes() -> Vec<RouteConfig> {
    let pages = RouteConfig {
        forward_cookies: ForwardCookies::None,
        ..RouteConfig::new("pages")
    };
    let app = APP_PATHS.iter().filter_map(|path| {
        Some(RouteConfig {
            name: (*path).to_owned(),
            path: PathPattern::parse(path)?,
            forward_cookies: ForwardCookies::All,
            timeout: (*path == "/fragments/").then_some(Duration::from_secs(2)),
            ..RouteConfig::new("app")
        })
    });
    std::iter::once(pages).chain(app).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_see_no_cookies_and_the_app_takes_one_at_a_time() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let config = config(&Addresses {
            gateway: at(8080),
            admin: Some(at(9080)),
            pages: at(4000),
            apps: vec![at(4001), at(4002)],
        });
        assert_eq!(config.routes.len(), 1 + APP_PATHS.len());
        for route in &config.routes {
            let wanted = match route.upstream.as_str() {
                "pages" => ForwardCookies::None,
                _ => ForwardCookies::All,
            };
            assert_eq!(route.forward_cookies, wanted, "{}", route.name);
            assert!(config.upstreams.contains_key(&route.upstream));
        }
        assert_eq!(config.upstreams["app"].max_in_flight, 1);
        assert_eq!(config.upstreams["app"].servers.len(), 2);
        assert_eq!(config.server.debug_from.len(), 2);
    }
}

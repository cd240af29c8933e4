//! What the terminal says when the shop has opened.

use std::fmt::Write as _;

use crate::demo::Addresses;

/// The text: what to open, who to be, four commands worth trying.
pub fn text(addresses: &Addresses) -> String {
    let Addresses { gateway, pages, .. } = addresses;
    let mut text = format!(
        "The bookshop is open: http://{gateway}/\n\n  \
         start here       http://{gateway}/about-this-demo\n  \
         the same in SSI  http://{gateway}/ssi\n"
    );
    // Writing to a String does not fail.
    if let Some(admin) = addresses.admin {
        let _ = writeln!(text, "  dashboard        http://{admin}/");
    }
    let apps: Vec<String> = addresses
        .apps
        .iter()
        .map(|app| app.port().to_string())
        .collect();
    let _ = write!(
        text,
        "  behind it        page cache {pages}, app instances on ports {}\n\n\
         Log in as ada in one browser and as grace in another (any name will do): neither sees a part of the other.\n\
         Tick \"Show the joins\" at the foot of a page to see where each part came from and what it cost.\n\n\
         Worth trying:\n  \
         curl -s http://{pages}/ | grep -o '<esi:include[^>]*>'                     # the skeleton asks for its parts\n  \
         curl -sD - -o /dev/null http://{gateway}/                                 # the head: Cache-Status, Server-Timing\n  \
         curl -sN http://{gateway}/ | grep -o 'data-part=.*data-cost=\"[0-9]*\"'      # the parts, as they arrive\n  \
         curl -sL -b '' -d name=ada http://{gateway}/login | grep -o 'Hello[^/]*'    # log in; the page is ada's\n\n\
         Ctrl-C closes the shop.\n",
        apps.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn it_names_what_to_open_and_four_commands() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut addresses = Addresses {
            gateway: at(8080),
            admin: Some(at(9080)),
            pages: at(4000),
            apps: vec![at(4001), at(4002)],
        };
        let with = text(&addresses);
        assert_eq!(with.matches("  curl ").count(), 4);
        assert!(with.contains("http://127.0.0.1:9080/") && with.contains("ports 4001, 4002"));
        addresses.admin = None;
        assert!(!text(&addresses).contains("dashboard"));
    }
}

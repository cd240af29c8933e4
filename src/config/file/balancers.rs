//! `[[balancers]]`: plain listeners onto the servers of an upstream.

use std::ops::Range;

use crate::config::BalancerConfig;
use crate::config::file::faults::{Faults, warning};
use crate::config::file::routes;
use crate::config::file::server::Listeners;
use crate::config::file::setting::{LISTENER, Setting, listener};
use crate::config::file::table::Table;
use crate::config::file::upstreams::Upstreams;

/// All `[[balancers]]` in the order of the file, and where the first of them stands.
pub(super) fn balancers(
    setting: Option<Setting<'_>>,
    upstreams: &Upstreams,
    taken: &mut Listeners,
    faults: &Faults<'_>,
) -> (Vec<BalancerConfig>, Option<Range<usize>>) {
    let accepted = "sections `[[balancers]]`, each with `listen` and `upstream`";
    let items = setting.and_then(|setting| setting.items(accepted));
    let items = items.unwrap_or_default();
    let first = items.first().map(|item| item.span.clone());
    let read = items.iter().filter_map(|item| {
        let table = Table::of(item, accepted)?;
        balancer(table, upstreams, taken, faults)
    });
    (read.collect(), first)
}

/// One `[[balancers]]`; both keys are wanted.
fn balancer(
    mut table: Table<'_>,
    upstreams: &Upstreams,
    taken: &mut Listeners,
    faults: &Faults<'_>,
) -> Option<BalancerConfig> {
    let listen = table.required("listen", LISTENER).and_then(|it| {
        let address = listener(&it)?;
        taken.add(&it.name, it.span.clone(), &[address]);
        Some(address)
    });
    let upstream = table
        .required("upstream", "the name of an upstream")
        .and_then(|it| routes::upstream(&it, upstreams, faults));
    table.close();
    Some(BalancerConfig {
        listen: listen?,
        upstream: upstream?,
    })
}

/// A page cache whose word counts for nothing asks for pages without tags.
pub(super) fn warn_untrusted(place: Range<usize>, faults: &Faults<'_>) {
    let message = "`balancers` without `server.trusted_proxies`: what a page cache says of itself and its clients is dropped";
    faults.report(warning(place, message).help(
        "name its network there: else the applications see no `Surrogate-Capability` and no `X-Forwarded-*` of it, and \
         may render pages without tags",
    ));
}

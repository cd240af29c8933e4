"""The command line of a demo: start the shop and say where it is, or check that what is composed is what is rendered in place."""

import argparse
import os
import signal
import sys
import time
import urllib.request

from oracle import Oracle
from stage import ROOT, Absent, Failed, Stage, free_ports, gateway_binary

# The ports that the configurations of the examples are written with: gateway, dashboard, Varnish, the gateway's balancer for
# Varnish, and the instances.
GATEWAY, ADMIN, PAGES, BALANCER = 8080, 9090, 6081, 8180
INSTANCES = [8110, 8111, 8112, 8113]

NOT_HERE = 77


def main(example):
    """Exit code 0: all holds; 1: something does not, or did not start; 77: something that is needed is not here."""
    words = argparse.ArgumentParser(description=example.__doc__)
    words.add_argument('what', nargs='?', choices=['start', 'check'], default='start')
    words.add_argument('--port', type=int, help='of the gateway, 8080 unless told; a check takes a free one')
    words.add_argument('--gateway', metavar='PROGRAM', default=os.environ.get('MARQUETRY'),
                       help='the gateway; also by MARQUETRY in the environment. Otherwise the one that was built last')
    words.add_argument('--without-varnish', action='store_true', help='pages come straight from the instances')
    asked = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # 0: a free one.
    port = asked.port if asked.port is not None else (8080 if asked.what == 'start' else 0)
    try:
        binary = gateway_binary(asked.gateway)
        example.install(ROOT / 'target/examples')
        with Stage() as stage:
            ports, varnish = raise_curtain(example, stage, binary, port, not asked.without_varnish)
            if asked.what == 'check':
                instances = [ports[each] for each in INSTANCES]
                return 0 if Oracle(example, ports, instances, varnish).run() else 1
            welcome(ports, varnish)
            while True:
                time.sleep(1)
                stage.healthy()
    except Absent as absent:
        print(f'cannot run here: {absent}', file=sys.stderr)
        return NOT_HERE
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0


def raise_curtain(example, stage, binary, port, with_varnish):
    """Starts all programs; gives their ports and that of Varnish, if there is one."""
    written = [GATEWAY, ADMIN, PAGES, BALANCER, *INSTANCES]
    ports = dict(zip(written, free_ports(len(written))))
    if port:
        ports[GATEWAY] = port
    example.start(stage, [ports[each] for each in INSTANCES])
    # What Varnish does not have it asks the gateway's balancer for, so that no instance gets two requests at once.
    varnish = with_varnish and stage.varnish(ports[PAGES], ports[BALANCER])
    # Without a page cache pages come straight from the instances.
    changes = () if varnish else [('upstream = "pages"', 'upstream = "app"')]
    stage.gateway(binary, example.folder / 'marquetry.toml', ports, changes)
    return ports, varnish and ports[PAGES]


def welcome(ports, varnish):
    with urllib.request.urlopen(f'http://127.0.0.1:{ports[GATEWAY]}/') as page:
        page.read()
    print(f"""
The shop                http://localhost:{ports[GATEWAY]}/
... written with SSI    http://ssi.localhost:{ports[GATEWAY]}/
the dashboard           http://127.0.0.1:{ports[ADMIN]}/
in place, no gateway    http://localhost:{ports[INSTANCES[0]]}/
with its tags           curl -H 'Surrogate-Capability: me="ESI/1.0"' http://localhost:{ports[INSTANCES[0]]}/
the page cache          {f'Varnish, port {varnish}' if varnish else 'none: Varnish is not installed, or not wanted'}

Ctrl-C stops all of it.""", flush=True)

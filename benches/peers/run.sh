#!/usr/bin/env bash
# Marquetry beside Varnish, nginx, Traffic Server and HAProxy: the same pages, one run, in turn. What is missing is named and left out.
#
#   benches/peers/run.sh            # all tables
#   benches/peers/run.sh cpu fan    # some of them: cpu, fan, mix, idle, tail, growth
#   ROUNDS=3 SECONDS_EACH=1 benches/peers/run.sh cpu
#
# Needs python3 and wrk; on Debian: apt-get install varnish nginx trafficserver haproxy wrk. Everything listens on loopback, on free
# ports, and is stopped at the end. The tables go to standard output, all figures to target/peers.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in python3 wrk taskset; do
	command -v "$tool" >/dev/null || { echo "benches/peers/run.sh needs $tool" >&2; exit 2; }
done
cargo build --release --bin marquetry --example peers_origin
exec python3 benches/peers/run.py "$@"

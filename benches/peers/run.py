"""Marquetry beside its peers; started by run.sh, which says what it needs.

Each peer runs on one core with a careful configuration (access log off, kept connections to the application, one worker), the
application and the load on another. What is compared is the processor time of a peer for 1,000 answers: on a shared machine it is
steadier than throughput. Peers take turns, round by round; medians are printed, and their ratio to the ceiling, a bare hyper server
that sends the same bytes.
"""

import contextlib
import datetime
import gzip
import json
import math
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

ROUNDS = int(os.environ.get("ROUNDS", "5"))
EACH = int(os.environ.get("SECONDS_EACH", "2"))
CONNECTIONS = 16
TICK = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = ("0", "1") if os.cpu_count() > 1 else ("0", "0")
BINARY = "target/release/marquetry"
ORIGIN = "target/release/examples/peers_origin"


# -- processes --


def on_core(core, command, **more):
    return subprocess.Popen(
        ["taskset", "-c", core, *command],
        stdin=subprocess.DEVNULL,
        stderr=more.pop("stderr", subprocess.DEVNULL),
        start_new_session=True,
        **more,
    )


def stop(process):
    """Ends a process and all that it has started, by their group."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def family(pid):
    """A process and all below it."""
    found = [pid]
    for child in subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout.split():
        found += family(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICK


def resident(pid):
    """Bytes in memory, shared pages counted once."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            rollup = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M).group(1)) * 1024
    return total


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(process):
    """The address that a process of ours prints."""
    return process.stdout.readline().split()[-1]


def wait_for(port, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


# -- the peers --


class Peer:
    """A server in front of the application: its own folder, its own port."""

    dialect = "esi"
    composes = True
    program = None
    gzips = True

    def __init__(self, origin, memory=256, gzip=False):
        self.origin = origin
        self.memory = memory
        self.gzip = gzip
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="peers-")
        # Some of them change their user.
        os.chmod(self.folder, 0o777)
        self.process = on_core(SERVER_CORE, self.command(), stdout=subprocess.DEVNULL)
        try:
            wait_for(self.port)
        except RuntimeError:
            self.end()
            raise

    def file(self, name, text):
        path = pathlib.Path(self.folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def end(self):
        stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def page(self, what):
        return self.url(f"/{self.dialect}/{what}")


class Marquetry(Peer):
    program = BINARY

    def command(self):
        return [BINARY, "run", "--config", self.file("marquetry.toml", f"""
[server]
listen = "127.0.0.1:{self.port}"
threads = 1
[log]
access = "off"
level = "error"
[cache]
memory = "{self.memory}MiB"
[upstreams.app]
servers = ["{self.origin}"]
[[routes]]
path = "/"
upstream = "app"
forward_cookies = false
[[routes]]
path = "/u/"
upstream = "app"
forward_cookies = true
""")]


class Nginx(Peer):
    program = "nginx"
    dialect = "ssi"

    def command(self):
        return ["nginx", "-p", self.folder, "-c", self.file("nginx.conf", f"""
daemon off;
worker_processes 1;
error_log /dev/null crit;
pid {self.folder}/pid;
user root;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2; fastcgi_temp_path {self.folder}/t3;
  uwsgi_temp_path {self.folder}/t4; scgi_temp_path {self.folder}/t5;
  proxy_cache_path {self.folder}/cache keys_zone=c:32m max_size={self.memory}m;
  keepalive_requests 1000000000;
  sendfile on; tcp_nopush on; open_file_cache max=10000 inactive=60s;
  upstream app {{ server {self.origin}; keepalive 1024; }}
  gzip on;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Accept-Encoding "";
    location / {{ ssi on; proxy_pass http://app; proxy_cache c; }}
    location /u/ {{ proxy_pass http://app; }}
  }}
}}
""")]


class Varnish(Peer):
    program = "varnishd"

    def command(self):
        host, port = self.origin.split(":")
        compress = "set beresp.do_gzip = true;" if self.gzip else ""
        vcl = self.file("v.vcl", f"""vcl 4.1;
backend default {{ .host = "{host}"; .port = "{port}"; }}
sub vcl_recv {{ if (req.url ~ "^/u/") {{ return (pass); }} return (hash); }}
sub vcl_backend_response {{
  {compress}
  if (bereq.url ~ "^/esi/") {{ set beresp.do_esi = true; unset beresp.http.Surrogate-Control; }}
}}
""")
        gzip_support = "on" if self.gzip else "off"
        return ["varnishd", "-F", "-n", self.folder, "-a", f"127.0.0.1:{self.port}", "-f", vcl, "-s", f"malloc,{self.memory}m",
                "-p", f"http_gzip_support={gzip_support}", "-p", "feature=+esi_disable_xml_check", "-p", "thread_pools=1", "-p", "thread_pool_min=64"]


class TrafficServer(Peer):
    program = "traffic_server"

    def command(self):
        for name in ("etc", "cache", "run", "log", "lib"):
            pathlib.Path(self.folder, name).mkdir()
            os.chmod(f"{self.folder}/{name}", 0o777)
        root = self.file("runroot.yaml", f"""prefix: /usr
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: {self.folder}/etc
datadir: {self.folder}/cache
includedir: /usr/include
libdir: /usr/lib/trafficserver
libexecdir: /usr/lib/trafficserver/modules
localstatedir: {self.folder}/run
runtimedir: {self.folder}/run
logdir: {self.folder}/log
cachedir: {self.folder}/cache
""")
        self.file("etc/records.config", f"""
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.http.server_ports STRING {self.port}
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.admin.user_id STRING nobody
CONFIG proxy.config.cache.ram_cache.size INT {self.memory}M
CONFIG proxy.config.http.cache.required_headers INT 2
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.reverse_proxy.enabled INT 1
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 600
CONFIG proxy.config.diags.debug.enabled INT 0
""")
        self.file("etc/remap.config", f"map / http://{self.origin}/\n")
        self.file("etc/plugin.config", "esi.so --gzip-output\n" if self.gzip else "esi.so\n")
        self.file("etc/storage.config", f"{self.folder}/cache {max(self.memory, 128)}M\n")
        self.file("etc/ip_allow.yaml", "ip_allow:\n  - {apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL}\n")
        return ["traffic_server", f"--run-root={root}"]


class HAProxy(Peer):
    program = "haproxy"
    composes = False
    gzips = False

    def command(self):
        return ["haproxy", "-f", self.file("haproxy.cfg", f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
cache c
  total-max-size {min(self.memory, 4095)}
  max-object-size 100000
  max-age 3600
frontend f
  bind 127.0.0.1:{self.port}
  default_backend b
backend b
  http-request cache-use c
  http-response cache-store c
  http-reuse always
  server app {self.origin}
""")]


PEERS = {"marquetry": Marquetry, "nginx": Nginx, "varnish": Varnish, "trafficserver": TrafficServer, "haproxy": HAProxy}


# -- asking --


def get(url, fields=()):
    """Status, fields and body of one answer, decoded."""
    request = urllib.request.Request(url, headers=dict(fields))
    with urllib.request.urlopen(request, timeout=30) as answer:
        body = answer.read()
        coding = answer.headers.get("content-encoding", "identity")
        plain = zlib.decompress(body, 47) if coding == "gzip" else body
        return plain, len(body), coding


def load(url, seconds, connections=CONNECTIONS, fields=(), script=None):
    """A closed loop by wrk; how many answers came, and that all were good."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in fields:
        command += ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", script]
    out = subprocess.run(["taskset", "-c", LOAD_CORE, *command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise RuntimeError(f"{url}: {out}")
    errors = re.search(r"Socket errors: .*", out)
    return int(re.search(r"(\d+) requests in", out).group(1)), errors.group(0) if errors else None


def per_thousand(pid, url, fields=(), connections=CONNECTIONS):
    before = cpu_seconds(pid)
    answers, _ = load(url, EACH, connections=connections, fields=fields)
    return (cpu_seconds(pid) - before) / answers * 1000


class Ceiling:
    """Bare hyper that sends fixed bytes."""

    def __init__(self, body, gzipped=False):
        self.file = tempfile.NamedTemporaryFile()
        self.file.write(body)
        self.file.flush()
        command = [ORIGIN, self.file.name] + (["gzip"] if gzipped else [])
        self.process = on_core(SERVER_CORE, command, stdout=subprocess.PIPE, text=True)
        self.address = listening(self.process)

    def end(self):
        stop(self.process)
        self.file.close()


# -- tables --


def show(title, columns, rows, note=""):
    print(f"\n## {title}\n")
    widths = [max(len(str(cell)) for cell in column) for column in zip(columns, *rows)]
    for row in (columns, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |")
    if note:
        print(f"\n{note}")
    sys.stdout.flush()


def seconds(value):
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def in_turn(cells, measure):
    """Every cell once a round, in turn; the median of each."""
    taken = {cell: [] for cell in cells}
    for _ in range(ROUNDS):
        for cell in cells:
            taken[cell].append(measure(cell))
    return {cell: statistics.median(values) for cell, values in taken.items()}


def table_cpu(origin, programs):
    """Processor time for 1,000 answers of 20 KB whose parts are all cached."""
    pages = [("plain", "plain", False), ("1", "1", False), ("5", "5", False), ("20", "20", False), ("100", "100", False),
             ("400", "400", False), ("20, gzip", "20", True)]
    results, sizes = {}, {}
    for label, what, gzipped in pages:
        fields = [("Accept-Encoding", "gzip")] if gzipped else []
        running, cells = {}, {}
        try:
            for name, kind in programs.items():
                if what != "plain" and not kind.composes or gzipped and not kind.gzips:
                    continue
                peer = running[name] = kind(origin, gzip=gzipped)
                cells[name] = peer.url("/plain") if what == "plain" else peer.page(what)
            bodies = {}
            for name, url in cells.items():
                # What a peer makes of a page the first few times is not what it sends from then on.
                for _ in range(5):
                    bodies[name], size, coding = get(url, fields)
                sizes[name, label] = size
                if gzipped and coding != "gzip":
                    raise RuntimeError(f"{name} does not compress")
            reference = next(iter(bodies.values()))
            for name, body in bodies.items():
                if body != reference:
                    raise RuntimeError(f"{name} gives another page for {label}: {len(body)} bytes, not {len(reference)}")
            sent = gzip.compress(reference, 6) if gzipped else reference
            sizes["ceiling", label] = len(sent)
            running["ceiling"] = Ceiling(sent, gzipped)
            cells["ceiling"] = f"http://{running['ceiling'].address}/"
            median = in_turn(cells, lambda name: per_thousand(running[name].process.pid, cells[name], fields))
            for name, value in median.items():
                results[name, label] = value
        finally:
            for peer in running.values():
                peer.end()
    labels = [label for label, *_ in pages]
    rows = []
    for name in ["ceiling", *programs]:
        row = [name]
        for label in labels:
            value = results.get((name, label))
            if value is None:
                row.append("")
                continue
            cell = f"{seconds(value)} ({value / results['ceiling', label]:.1f}x)"
            row.append(cell + (f" {sizes[name, label] / 1000:.1f} KB" if "gzip" in label else ""))
        rows.append(row)
    show("CPU seconds per 1,000 answers of 20 KB, all parts cached, by includes", ["", *labels], rows,
         "In brackets: times the ceiling, bare hyper sending the same bytes.")
    return [{"peer": name, "page": label, "cpu_seconds_per_1000": value, "bytes": sizes.get((name, label)),
             "times_ceiling": value / results["ceiling", label]} for (name, label), value in results.items()]


def bench(url, connections, requests):
    """One run of our own load tool; no user may see another one's session."""
    command = [BINARY, "bench", url, "-c", str(connections), "-n", str(requests), "--users", str(max(connections, 2)), "--expect-own", "--json"]
    done = subprocess.run(["taskset", "-c", LOAD_CORE, *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def table_fan(origin, programs):
    """Latency of pages of personal fragments of 20 ms each."""
    results = []
    for count in (10, 50):
        for connections in (1, 16):
            running = {name: kind(origin) for name, kind in programs.items() if kind.composes}
            try:
                for peer in running.values():
                    body, *_ = get(peer.page(f"fan/{count}/20"), [("Cookie", "session=me")])
                    if body.count(b"[session=me]") != count:
                        raise RuntimeError(f"{type(peer).__name__}: {body.count(b'[session=me]')} of {count} fragments")
                taken = {name: [] for name in running}
                for _ in range(ROUNDS):
                    for name, peer in running.items():
                        taken[name].append(bench(peer.page(f"fan/{count}/20"), connections, 40 * connections if name != "varnish" else 4 * connections))
                for name, runs in taken.items():
                    middle = lambda figure: statistics.median(run["targets"][0][figure]["p50"] for run in runs) * 1000
                    results.append({"peer": name, "fragments": count, "connections": connections,
                                    "total_ms_p50": middle("total_seconds"),
                                    "first_byte_ms_p50": middle("first_byte_seconds")})
            finally:
                for peer in running.values():
                    peer.end()
    cases = sorted({(row["fragments"], row["connections"]) for row in results})
    rows = []
    for name in programs:
        mine = {(row["fragments"], row["connections"]): row for row in results if row["peer"] == name}
        if mine:
            rows.append([name, *(f"{mine[case]['total_ms_p50']:.1f} / {mine[case]['first_byte_ms_p50']:.2f}" for case in cases)])
    show("Fan-out: milliseconds to the last and to the first byte (p50), personal fragments of 20 ms",
         ["", *(f"{count} fragments, c={connections}" for count, connections in cases)], rows)
    return results


def table_mix(origin, programs):
    """Eight shared fragments and two personal ones."""
    running = {name: kind(origin) for name, kind in programs.items() if kind.composes}
    try:
        fields = [("Cookie", "session=me")]
        pages = {name: get(peer.page("mix"), fields)[0] for name, peer in running.items()}
        reference = next(iter(pages.values()))
        for name, page in pages.items():
            if page != reference:
                raise RuntimeError(f"{name} gives another page")
        median = in_turn(running, lambda name: per_thousand(running[name].process.pid, running[name].page("mix"), fields, 64))
    finally:
        for peer in running.values():
            peer.end()
    base = median.get("nginx")
    rows = [[name, seconds(value), f"{value / base:.2f}" if base else ""] for name, value in median.items()]
    show("CPU seconds per 1,000 pages of 8 shared and 2 personal fragments of 5 ms, c=64", ["", "CPU s", "times nginx"], rows)
    return [{"peer": name, "cpu_seconds_per_1000": value} for name, value in median.items()]


def table_idle(origin, programs):
    """What a kept connection without a request costs."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * count), hard))
    results = []
    for name, kind in programs.items():
        peer = kind(origin)
        held = []
        try:
            get(peer.url("/f/0"))
            before = resident(peer.process.pid)
            for _ in range(count):
                one = socket.create_connection(("127.0.0.1", peer.port))
                one.sendall(b"GET /f/0 HTTP/1.1\r\nHost: a\r\n\r\n")
                held.append(one)
            for one in held:
                one.settimeout(10)
                one.recv(65536)
            time.sleep(2)
            results.append({"peer": name, "bytes": (resident(peer.process.pid) - before) / count})
        finally:
            for one in held:
                one.close()
            peer.end()
    show(f"Memory of an idle kept connection ({count:,} of them)", ["", "KiB"],
         [[row["peer"], f"{row['bytes'] / 1024:.1f}"] for row in results])
    return results


def ideal_lru(chosen, objects):
    """The share of hits of a list that keeps so many, the last ones asked for."""
    kept, hits = {}, 0
    for one in chosen:
        hits += kept.pop(one, False)
        kept[one] = True
        if len(kept) > objects:
            del kept[next(iter(kept))]
    return hits / len(chosen)


def table_tail(origin, programs):
    """A long tail in little memory."""
    urls, requests, memory = 200_000, 200_000, 32
    weights = [1 / rank**0.9 for rank in range(1, urls + 1)]
    chosen = random.Random(1).choices(range(urls), weights, k=requests)
    distinct = len(set(chosen))
    results = []
    for name in ("marquetry", "varnish", "trafficserver", "nginx"):
        if name not in programs:
            continue
        peer = programs[name](origin, memory=memory)
        try:
            get(peer.url("/f/0"))
            empty = resident(peer.process.pid)
            before = int(get(f"http://{origin}/count")[0])
            listed = peer.file("urls", "".join(f"/tail/{one}\n" for one in chosen))
            script = peer.file("tail.lua", f"""
local all, at, done = {{}}, 0, 0
-- Not before: a request that is written earlier names no host.
init = function() for line in io.lines("{listed}") do all[#all + 1] = wrk.format("GET", line) end end
request = function() at = at % #all + 1; return all[at] end
response = function() done = done + 1; if done >= #all then os.exit(0) end end
""")
            # It ends by itself when all is asked for; stopping its thread would leave it waiting for the end of its time.
            command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c8", "-d300s", "-s", script, peer.url("/")]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            fetched = int(get(f"http://{origin}/count")[0]) - before
            results.append({"peer": name, "hits": 1 - fetched / requests, "origin_requests": fetched,
                            "resident_bytes": resident(peer.process.pid), "resident_bytes_empty": empty})
        finally:
            peer.end()
    mib = lambda value: f"{value / 2**20:.0f}"
    show(f"Long tail: Zipf 0.9 over {urls:,} pages of 2 KB, {requests:,} requests, {memory} MiB", ["", "hits", "origin requests", "MiB resident", "of that when empty"],
         [[row["peer"], f"{row['hits']:.3f}", f"{row['origin_requests']:,}", mib(row["resident_bytes"]), mib(row["resident_bytes_empty"])] for row in results],
         f"An ideal LRU of as many bodies as fit would hit {ideal_lru(chosen, memory * 2**20 // 2048):.3f}, no bound at all {1 - distinct / requests:.3f}. nginx keeps its cache in files, whose pages are not counted as its own.")
    return results


# What grows, its values, the page, and how many connections.
GROWTH = [
    ("includes", (1, 5, 20, 100, 400), lambda value: str(value), None),
    ("connections", (1, 64, 1000), lambda _: "20", lambda value: value),
    ("depth", (1, 2, 3, 4, 5), lambda value: f"nest/{value}", None),
    ("KB of page", (2, 20, 200, 2000), lambda value: f"size/{value * 1000}", None),
]


def table_growth(origin, programs):
    """How cost grows: with includes, connections, depth and the size of a page."""
    names = [name for name, kind in programs.items() if kind.composes]
    results = []
    for what, values, page, connections in GROWTH:
        measured = {}
        for value in values:
            running, bodies = {}, {}
            try:
                for name in names:
                    peer = running[name] = programs[name](origin)
                    for _ in range(5):
                        bodies[name] = get(peer.page(page(value)))[0]
                # One that gives another page is not compared.
                right = [name for name in names if bodies[name] == bodies[names[0]]]
                count = connections(value) if connections else CONNECTIONS
                median = in_turn(right, lambda name: per_thousand(running[name].process.pid, running[name].page(page(value)), connections=count))
            finally:
                for peer in running.values():
                    peer.end()
            for name, cost in median.items():
                measured[name, value] = cost
                results.append({"peer": name, "grows": what, "value": value, "cpu_seconds_per_1000": cost})
        rows = [[name, *(seconds(measured[name, value]) if (name, value) in measured else "another page" for value in values)] for name in names]
        show(f"CPU seconds per 1,000 composed pages, all parts cached, by {what}", ["", *map(str, values)], rows)
    pathlib.Path("target/growth.svg").write_text(plot(results, names))
    print("\nDrawn: target/growth.svg")
    return results


def plot(results, names):
    """The growth tables as one picture: a panel for each, both axes logarithmic."""
    colours = dict(zip(names, ("#c2410c", "#0f766e", "#4338ca", "#a16207", "#64748b")))
    width, height, left, top = 360, 250, 56, 40
    costs = [row["cpu_seconds_per_1000"] for row in results]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    parts = []
    for index, (what, values, *_) in enumerate(GROWTH):
        x0, y0 = (index % 2) * (width + left + 24) + left, (index // 2) * (height + top + 36) + top
        first, last = math.log10(values[0]), math.log10(values[-1])
        x = lambda value: x0 + (math.log10(value) - first) / (last - first) * width
        y = lambda cost: y0 + height - (math.log10(cost) - low) / (high - low) * height
        parts.append(f'<text x="{x0}" y="{y0 - 12}" font-weight="bold">by {what}</text>')
        for power in range(low, high + 1):
            parts.append(f'<path d="M{x0} {y(10**power):.1f}h{width}" stroke="#cbd5e1"/><text x="{x0 - 6}" y="{y(10**power) + 4:.1f}" text-anchor="end">{10**power:g}</text>')
        for value in values:
            parts.append(f'<text x="{x(value):.1f}" y="{y0 + height + 18}" text-anchor="middle">{value}</text>')
        for name in names:
            points = [(x(row["value"]), y(row["cpu_seconds_per_1000"])) for row in results if (row["peer"], row["grows"]) == (name, what)]
            line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colours[name]}"/>' for px, py in points]
    wide, tall = 2 * (width + left + 24), 2 * (height + top + 36) + 34
    for index, name in enumerate(names):
        parts.append(f'<circle cx="{left + index * 150}" cy="{tall - 16}" r="5" fill="{colours[name]}"/><text x="{left + index * 150 + 10}" y="{tall - 12}">{name}</text>')
    style = "font-family: system-ui, sans-serif; font-size: 12px; fill: #1e293b"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}"><title>CPU seconds per 1,000 composed pages</title>'
            f'<rect width="100%" height="100%" fill="white"/><g style="{style}">{"".join(parts)}</g></svg>\n')


TABLES = {"cpu": table_cpu, "fan": table_fan, "mix": table_mix, "idle": table_idle, "tail": table_tail, "growth": table_growth}


def versions(programs):
    ways = {"nginx": ["nginx", "-v"], "varnish": ["varnishd", "-V"], "trafficserver": ["traffic_server", "-V"], "haproxy": ["haproxy", "-v"],
            "marquetry": [BINARY, "--version"]}
    told = {}
    for name in programs:
        done = subprocess.run(ways[name], capture_output=True, text=True)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if re.search(r"\d\.\d", line)]
        told[name] = lines[0].strip() if lines else "?"
    return told


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "an unnamed processor"


def main():
    wanted = sys.argv[1:] or list(TABLES)
    unknown = [name for name in wanted if name not in TABLES]
    if unknown:
        sys.exit(f"no table is called {', '.join(unknown)}; there are {', '.join(TABLES)}")
    programs = {name: kind for name, kind in PEERS.items() if shutil.which(kind.program) or os.path.exists(kind.program)}
    missing = [name for name in PEERS if name not in programs]
    if missing:
        print(f"Not installed, left out: {', '.join(missing)}")
    known = versions(programs)
    today = datetime.date.today().isoformat()
    print(f"{today}, {os.cpu_count()} cores of {processor()}; medians of {ROUNDS} rounds of {EACH} s in turn")
    for name, version in known.items():
        print(f"  {name}: {version}")
    application = on_core(LOAD_CORE, [ORIGIN], stdout=subprocess.PIPE, text=True)
    figures = {"date": today, "processor": processor(), "rounds": ROUNDS, "seconds": EACH, "versions": known}
    try:
        origin = listening(application)
        for name in wanted:
            figures[name] = TABLES[name](origin, programs)
    finally:
        stop(application)
    pathlib.Path("target/peers.json").write_text(json.dumps(figures, indent=1))
    print("\nAll figures: target/peers.json")


if __name__ == "__main__":
    main()

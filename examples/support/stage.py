"""Where a demo plays: the programs it has started, on free ports of loopback, each with its log; all are stopped at the end."""

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Failed(Exception):
    """A program did not start, or ended; the text says which, and ends with its log."""


class Absent(Exception):
    """Something that the demo needs is not installed and cannot be; the text says what."""


def free_ports(count):
    """As many different ports that nobody listens on; below those that the system gives to outgoing connections."""
    found = []
    for port in random.sample(range(20000, 32000), 1000):
        if len(found) == count:
            return found
        try:
            socket.create_server(('127.0.0.1', port)).close()
            found.append(port)
        except OSError:
            continue
    raise Failed('there are no free ports')


def program(name):
    """Where this program is, also where only root would find it; None if nowhere."""
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/usr/local/sbin')


class Stage:
    """Programs are started in their order and stopped in the opposite one, however the `with` block ends."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='marquetry-'))
        self.running = []
        return self

    def __exit__(self, *_):
        # A second signal does not end this half-way.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for _, process in reversed(self.running):
            self.signal(process, signal.SIGTERM)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                pass
            # Whatever a program has started itself ends with it.
            self.signal(process, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def signal(process, number):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass

    def start(self, name, command, **options):
        """Starts a program in a process group of its own."""
        with open(self.folder / f'{name}.log', 'wb') as log:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **options)
        self.running.append((name, process))

    def run(self, name, command, **options):
        """Runs a program to its end."""
        with open(self.folder / f'{name}.log', 'wb') as log:
            ended = subprocess.run(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=120, **options)
        if ended.returncode:
            raise Failed(f'{name} failed:\n{self.log(name)}')

    def log(self, name):
        return (self.folder / f'{name}.log').read_text(errors='replace')[-3000:]

    def healthy(self):
        """Fails when one of the programs has ended."""
        for name, process in self.running:
            if process.poll() is not None:
                raise Failed(f'{name} has ended with {process.returncode}:\n{self.log(name)}')

    def wait_for(self, port, path=None, seconds=60):
        """Until somebody listens on this port, and with a path answers a GET of it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.healthy()
            try:
                if path is None:
                    socket.create_connection(('127.0.0.1', port), timeout=1).close()
                    return
                connection = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
                connection.request('GET', path)
                status = connection.getresponse().status
                connection.close()
                if status == 200:
                    return
                raise Failed(f'port {port} answers {path} with {status}:\n' + '\n'.join(self.log(name) for name, _ in self.running))
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
        raise Failed(f'nobody answers on port {port} after {seconds} s')

    def varnish(self, port, backend):
        """The page cache, with the VCL that is meant for this place. False where Varnish is not installed."""
        varnishd = program('varnishd')
        if varnishd is None:
            return False
        vcl = (ROOT / 'examples/varnish/behind.vcl').read_text()
        (self.folder / 'behind.vcl').write_text(vcl.replace('.port = "8000"', f'.port = "{backend}"'))
        self.start('varnish', [
            varnishd, '-F', '-j', 'none', '-s', 'malloc,32m', '-a', f'127.0.0.1:{port}',
            '-n', self.folder / 'varnish', '-f', self.folder / 'behind.vcl'])
        self.wait_for(port)
        return True

    def gateway(self, binary, config, ports, changes=()):
        """The gateway with a configuration of the examples, in which other `ports` take the place of those written there."""
        text = config.read_text()
        for old, new in changes:
            text = text.replace(old, new)
        for written, real in ports.items():
            text = text.replace(f'127.0.0.1:{written}"', f'127.0.0.1:{real}"')
        (self.folder / 'marquetry.toml').write_text(text)
        self.start('gateway', [binary, 'run', '--config', self.folder / 'marquetry.toml'])
        self.wait_for(ports[8080])


def gateway_binary(given=None):
    """The gateway that was given, or the latest that was built here, or an installed one."""
    if given:
        if os.access(given, os.X_OK):
            return Path(given).resolve()
        raise Absent(f'there is no program {given}')
    built = [path for kind in ('release', 'debug') if (path := ROOT / f'target/{kind}/marquetry').exists()]
    if built:
        return max(built, key=lambda path: path.stat().st_mtime)
    if installed := program('marquetry'):
        return Path(installed)
    raise Absent('there is no gateway yet: cargo build --release')

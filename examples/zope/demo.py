#!/usr/bin/env python3
"""A bookshop community on Zope: four instances with one thread each, Varnish where it is installed, and the gateway."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'support'))

from demo import main  # noqa: E402
from oracle import ask, sources  # noqa: E402
from stage import Absent, free_ports  # noqa: E402


class Zope:
    __doc__ = __doc__
    folder = HERE
    pages = ['/', '/books/pride', '/books/miserables', '/books/leagues']

    def form(self, action):
        return f'/@@do-{action}'

    def install(self, folder):
        """Zope in a virtual environment of its own, made again when the pins change."""
        pins = HERE / 'requirements.txt'
        version = f'{sys.version_info[0]}.{sys.version_info[1]}'
        if sys.version_info < (3, 10):
            raise Absent(f'Zope 6 needs Python 3.10 or later; this is {version}')
        pinned = hashlib.sha256(version.encode() + pins.read_bytes()).hexdigest()[:12]
        self.bin = folder / f'zope-{pinned}' / 'bin'
        done = self.bin.parent / 'installed'
        if done.exists():
            return
        print('Installing Zope into', self.bin.parent, flush=True)
        try:
            venv.create(self.bin.parent, with_pip=True, clear=True)
            pip = [self.bin / 'pip', '--disable-pip-version-check', '--retries', '1', 'install', '--quiet', '--requirement', pins]
            subprocess.run(pip, check=True, timeout=240)
        except (subprocess.SubprocessError, OSError) as error:
            why = f'ended with {error.returncode}' if isinstance(error, subprocess.CalledProcessError) else error
            raise Absent(f'Zope could not be installed; it takes the venv module of Python, and PyPI (pip install {why})') from error
        done.touch()

    def start(self, stage, ports):
        zeo, = free_ports(1)
        etc = HERE / 'instance/etc'
        environment = {
            **os.environ, 'PYTHONPATH': str(HERE), 'PYTHONDONTWRITEBYTECODE': '1',
            'SHOP_INSTANCE': str(HERE / 'instance'), 'SHOP_VAR': str(stage.folder), 'SHOP_ZEO': f'127.0.0.1:{zeo}',
        }
        stage.start('zeo', [self.bin / 'runzeo', '-C', etc / 'zeo.conf'], env=environment, cwd=stage.folder)
        stage.wait_for(zeo)
        opened = [self.bin / 'zconsole', 'run', etc / 'zope.conf', HERE / 'bookshop/open.py', HERE.parent / 'support/books.json']
        stage.run('open', opened, env=environment)
        for port in ports:
            command = [self.bin / 'runwsgi', etc / 'zope.ini', f'http_port={port}']
            stage.start(f'zope-{port}', command, env=environment, cwd=stage.folder)
        for port in ports:
            stage.wait_for(port, '/')

    def more(self, oracle):
        host = oracle.hosts['ESI/1.0']
        capability = 'marquetry="Surrogate/1.0 ESI/1.0"'
        part = ask(next(oracle.instances), host, '/@@part-recommendations', Surrogate_Capability=capability)
        cards = sources(part.body)
        oracle.note(len(cards) == 3 and 'private' in part.field('Cache-Control'),
                    f'recommendations are a part with {len(cards)} parts: personal, of cards that are for all')


if __name__ == '__main__':
    sys.exit(main(Zope()))

#!/usr/bin/env python3
"""A bookshop on Symfony: four of PHP's built-in servers with one worker each, Varnish where it is installed, and the gateway."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'support'))

from demo import main  # noqa: E402
from oracle import ask, sources  # noqa: E402
from stage import Absent, program  # noqa: E402

PACKAGES = 'php-cli php-symfony-framework-bundle php-symfony-twig-bundle'


class Symfony:
    __doc__ = __doc__
    folder = HERE
    pages = ['/', '/books/pride', '/books/miserables', '/books/leagues']

    def form(self, action):
        return f'/do/{action}'

    def install(self, _folder):
        """Nothing is installed here: it comes with the system."""
        advice = f'on Debian: apt-get install {PACKAGES}'
        if program('php') is None:
            raise Absent(f'there is no php; {advice}')
        loads = subprocess.run(['php', HERE / 'src/autoload.php'], capture_output=True, text=True, timeout=60)
        if loads.returncode:
            raise Absent(f'php finds no Symfony; {advice}\n{loads.stdout}{loads.stderr}')

    def start(self, stage, ports):
        environment = {**os.environ, 'SHOP_VAR': str(stage.folder), 'SHOP_SECRET': secrets.token_hex(32)}
        stage.run('open', ['php', HERE / 'open.php', HERE.parent / 'support/books.json'], env=environment)
        for port in ports:
            stage.start(f'php-{port}', ['php', '-S', f'127.0.0.1:{port}', '-t', HERE / 'public'], env=environment)
        for port in ports:
            stage.wait_for(port, '/')

    def more(self, oracle):
        host = oracle.hosts['ESI/1.0']
        capability = 'marquetry="Surrogate/1.0 ESI/1.0"'
        page = ask(next(oracle.instances), host, '/books/pride', Surrogate_Capability=capability)
        signed = [source for source in sources(page.body) if '_hash=' in source]
        bare = [source for source in signed if '&' in source.replace('&amp;', '')]
        oracle.note(len(signed) >= 4 and bare == signed, f'{len(signed)} signed addresses, with a bare & as Symfony writes them', signed)
        for part in signed:
            there = ask(oracle.gateway, host, part)
            elsewhere = ask(next(oracle.instances), 'other.example', part)
            oracle.note((there.status, elsewhere.status) == (200, 403), f'200 on its own host, 403 on another: {part.rsplit("%253A", 1)[-1]}',
                        f'     {there.status}, {elsewhere.status}')
        forged = ask(oracle.gateway, host, signed[0].replace('_hash=', '_hash=x'))
        oracle.note(forged.status == 403, 'a forged signature is refused', f'     {forged.status}')


if __name__ == '__main__':
    sys.exit(main(Symfony()))

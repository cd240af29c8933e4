"""The page rendered in place is the oracle: what the gateway composes must be the same bytes.

An instance that is asked without Surrogate-Capability renders the whole page itself. Here every page is asked for both ways, by a
guest and by two members, with ESI and with SSI, cold and warm, one by one and many at once, before and after something has changed.
"""

import difflib
import http.client
import itertools
import random
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from stage import Failed

TAGS = {'ESI/1.0': b'<esi:include', 'SSI/1.0': b'<!--#include'}
MANY = 480


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.fields = response.getheaders()
        self.body = response.read()

    def field(self, name):
        found = [value for field, value in self.fields if field.lower() == name.lower()]
        return ', '.join(found) if found else None


def ask(port, host, path, cookie=None, posted=None, **fields):
    """One request on a connection of its own, to the byte as given. With `posted`, the fields of a form, it is a POST."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        connection.putrequest('POST' if posted is not None else 'GET', path, skip_host=True, skip_accept_encoding=True)
        connection.putheader('Host', host)
        for name, value in fields.items():
            connection.putheader(name.replace('_', '-'), value)
        if cookie:
            connection.putheader('Cookie', cookie)
        body = urlencode(posted).encode() if posted is not None else None
        if body is not None:
            connection.putheader('Content-Type', 'application/x-www-form-urlencoded')
            connection.putheader('Content-Length', str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Oracle:
    """Compares, prints a line for each thing that was looked at, and counts those that do not hold."""

    def __init__(self, example, ports, instances, varnish):
        self.example = example
        self.gateway = ports[8080]
        self.instances = itertools.cycle(instances)
        self.varnish = varnish
        # The form of tags is chosen by the host; the application writes its port into pages.
        self.hosts = {
            'ESI/1.0': f'localhost:{self.gateway}',
            'SSI/1.0': f'ssi.localhost:{self.gateway}',
        }
        # Names that stand nowhere by chance: where one of them is found, that member's bytes are.
        self.members = {f'{name}{secrets.token_hex(5)}': None for name in ('ada', 'grace')}
        self.held = self.failed = 0

    def note(self, holds, what, detail=''):
        if holds:
            self.held += 1
        else:
            self.failed += 1
        print(f'{"ok  " if holds else "FAIL"} {what}', flush=True)
        if detail and not holds:
            print(detail, flush=True)
        return holds

    # What is asked

    def composed(self, form, path, cookie):
        return ask(self.gateway, self.hosts[form], path, cookie)

    def in_place(self, form, path, cookie):
        return ask(next(self.instances), self.hosts[form], path, cookie)

    def post(self, form, action, cookie=None, **fields):
        return ask(self.gateway, self.hosts[form], self.example.form(action), cookie, fields)

    def everybody(self):
        return [('a guest', None), *self.members.items()]

    # What must hold

    def run(self):
        for step in (self.log_in, self.tags, self.pages_cold_and_warm, self.heads, self.page_cache, self.many_at_once,
                     self.changes, self.example_itself):
            print(f'\n{step.__doc__.strip()}', flush=True)
            step()
        print(f'\n{self.held} held, {self.failed} failed')
        return self.failed == 0

    def log_in(self):
        """Two members log in and fill their baskets, through the gateway."""
        for name, book in zip(self.members, ('moby', 'candle')):
            self.members[name] = cookie = self.log_in_as(name, 'ESI/1.0')
            put = self.post('ESI/1.0', 'basket', cookie, book=book)
            self.note(put.status == 303, f'{name} logs in and takes {book}', f'     {put.status} {put.body[:300]}')

    def log_in_as(self, name, form):
        answer = self.post(form, 'login', name=name)
        cookie = (answer.field('Set-Cookie') or '').partition(';')[0]
        if answer.status != 303 or name not in cookie:
            raise Failed(f'{name} cannot log in: {answer.status} {answer.fields} {answer.body[:300]}')
        return cookie

    def tags(self):
        """An instance writes tags for who can fill them, and none for others."""
        for form, host in self.hosts.items():
            answer = ask(next(self.instances), host, '/', Surrogate_Capability=f'marquetry="Surrogate/1.0 {form}"')
            declared = form in (answer.field('Surrogate-Control') or '')
            varies = 'surrogate-capability' in (answer.field('Vary') or '').lower()
            count = answer.body.count(TAGS[form])
            self.note(declared and varies and count >= 4, f'{form}: {count} tags, declared, Vary: Surrogate-Capability', answer.fields)
        plain = self.in_place('ESI/1.0', '/', None)
        self.note(not any(tag in plain.body for tag in TAGS.values()) and 'private' in plain.field('Cache-Control'),
                  'in place: no tags, private')

    def pages_cold_and_warm(self):
        """Composed and rendered in place, the same bytes: guests and members, both forms, cold and warm."""
        for form, path, (who, cookie) in itertools.product(self.hosts, self.example.pages, self.everybody()):
            wanted = self.in_place(form, path, cookie)
            for _ in range(2):
                same = self.same(self.composed(form, path, cookie), wanted, who)
                self.note(not same, f'{form}  {path:20} {who:15} {len(wanted.body):5} bytes', same)

    def same(self, got, wanted, who):
        """What is different, or nothing."""
        if (got.status, got.field('Content-Type')) != (wanted.status, wanted.field('Content-Type')) or got.status != 200:
            return f'     {got.status} {got.field("Content-Type")} where {wanted.status} {wanted.field("Content-Type")} was expected'
        others = [name for name in self.members if name != who and name.encode() in got.body]
        if others:
            return f'     {who} IS SHOWN BYTES OF {", ".join(others)}'
        if who in self.members and got.body.count(who.encode()) < 3:
            return f'     parts of {who} are missing'
        if got.body != wanted.body:
            lines = [body.decode(errors='replace').splitlines() for body in (wanted.body, got.body)]
            changed = list(difflib.unified_diff(*lines, 'in place', 'composed', lineterm='', n=0))
            return '\n'.join(f'     {line}' for line in changed[:20]) or '     other line ends'
        return ''

    def heads(self):
        """What caches are told of a page with personal parts."""
        for form, (who, cookie) in itertools.product(self.hosts, self.everybody()):
            page = self.composed(form, '/', cookie)
            control = page.field('Cache-Control') or ''
            left = [name for name in ('Surrogate-Control', 'ETag', 'Last-Modified', 'Age') if page.field(name)]
            self.note('private' in control and 'max-age' not in control and not left, f'{form}  {who:15} {control}',
                      f'     {control}; of the skeleton: {left}')

    def page_cache(self):
        """The page cache in between keeps pages with tags, and nothing of a member."""
        if not self.varnish:
            print('     skipped: no Varnish between')
            return
        cookie = next(iter(self.members.values()))
        for form, host in self.hosts.items():
            # The gateway's own words, so that it is what the gateway is given.
            capability = f'marquetry="Surrogate/1.0 {form}"'
            page = [ask(self.varnish, host, '/', cookie, Surrogate_Capability=capability) for _ in range(2)][1]
            clean = not any(name.encode() in page.body for name in self.members)
            hit = len((page.field('X-Varnish') or '').split()) == 2
            self.note(TAGS[form] in page.body and clean and hit, f'{form}: a hit, with tags, without members',
                      f'     {page.status} {page.fields}')

    def many_at_once(self):
        """Everybody at once, each page held against the one in place."""
        asked = list(itertools.product(self.hosts, self.example.pages, self.everybody()))
        wanted = {(form, path, who): self.in_place(form, path, cookie) for form, path, (who, cookie) in asked}
        order = [random.choice(asked) for _ in range(MANY)]

        def one(each):
            form, path, (who, cookie) = each
            wrong = self.same(self.composed(form, path, cookie), wanted[form, path, who], who)
            return f'     {form} {path} {who}\n{wrong}' if wrong else ''

        with ThreadPoolExecutor(12) as pool:
            wrong = [found for found in pool.map(one, order) if found]
        self.note(not wrong, f'{MANY} pages by 12 at a time, {len(wrong)} of them wrong', '\n'.join(wrong[:5]))

    def changes(self):
        """What is written is read at once by everybody, though the parts are kept for minutes."""
        # Groups are those of one origin (RFC 9875, section 2), and here are two: each is written to, and looked at, by itself.
        for form, sold in zip(self.hosts, ('119 sold', '169 sold')):
            critic = f'critic{secrets.token_hex(4)}'
            cookie = self.log_in_as(critic, form)
            before = self.composed(form, '/', None).body
            text = f'Better on the second reading, says {critic} <b>& others</b>.'
            statuses = [
                self.post(form, 'reviews', cookie, book='pride', text=text).status,
                self.post(form, 'basket', cookie, book='frankenstein').status,
                self.post(form, 'order', cookie).status,
            ]
            self.note(statuses == [303] * 3, f'{form}  a review, and an order', f'     {statuses}')
            for path, (who, visitor) in itertools.product(self.example.pages[:2], self.everybody()):
                page = self.composed(form, path, visitor)
                wrong = self.same(page, self.in_place(form, path, visitor), who)
                news = [critic, sold] if path == '/' else [critic]
                for word in (word.encode() for word in news):
                    if word in before or word not in page.body:
                        wrong = wrong or f'     {word} is not shown, or was before'
                self.note(not wrong, f'{form}  {path:20} {who:15} afterwards', wrong)

    def example_itself(self):
        """What is not there, and what this framework has of its own."""
        for form in self.hosts:
            got, wanted = (ask_for(form, '/nothing', None) for ask_for in (self.composed, self.in_place))
            self.note((got.status, got.body) == (404, wanted.body), f'{form}  404 for what is not there', f'     {got.status}')
        self.example.more(self)


def sources(body):
    """The addresses in the tags of a skeleton, as they are written."""
    return [match.decode() for match in re.findall(rb'<esi:include src="([^"]*)"', body)]

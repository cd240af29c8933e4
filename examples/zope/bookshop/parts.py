"""The parts of pages. A page asks for a part by `part(name)` and gets one of two things.

Who composes pages says so in Surrogate-Capability. It gets a tag that names the part's address, and asks for the part there.
Everybody else gets the part itself, rendered in place by the same code. So both lead to the same bytes.
"""

from html import escape
from urllib.parse import urlencode

from Products.Five.browser import BrowserView
from Products.Five.browser.pagetemplatefile import ViewPageTemplateFile
from zope.component import getMultiAdapter

COOKIE = 'member'

PERSONAL = 'private, no-cache'


def form(request):
    """The language of tags that the asker understands: 'ESI/1.0', 'SSI/1.0', or None for a page in place."""
    capability = request.getHeader('Surrogate-Capability', '')
    return next((form for form in ('ESI/1.0', 'SSI/1.0') if form in capability), None)


def tag(form, url):
    if form == 'ESI/1.0':
        return f'<esi:include src="{escape(url)}"/>'
    return f'<!--#include virtual="{url}" -->'


class Piece(BrowserView):
    """What pages and parts have in common."""

    template = None
    # What caches may do with it as long as its parts are tags.
    cache_control = PERSONAL
    # The groups by which it is purged (RFC 9875): an answer to a POST that names one takes it out of the gateway's store.
    groups = ()
    # Whether parts may be in it.
    has_parts = False

    @property
    def shop(self):
        return self.context.getPhysicalRoot().books

    @property
    def member(self):
        return self.shop.member(self.request.cookies.get(COOKIE))

    def text(self, **query):
        return self.template(**query)

    def part(self, name, **query):
        written = form(self.request)
        if written:
            url = f'/@@part-{name}' + (f'?{urlencode(query)}' if query else '')
            return tag(written, url)
        root = self.context.getPhysicalRoot()
        return getMultiAdapter((root, self.request), name=f'part-{name}').text(**query)

    def declare(self, groups=()):
        """The head: what is in the body, and whom it may be shown to."""
        say = self.request.response.setHeader
        say('Content-Type', 'text/html; charset=utf-8')
        control = self.cache_control
        if self.has_parts:
            # A cache in between must not give a page with tags to somebody who cannot fill them, nor a page in place to the rest.
            say('Vary', 'Surrogate-Capability')
            written = form(self.request)
            if written:
                say('Surrogate-Control', f'content="{written}"')
            else:
                # In place, the member's own parts are in it.
                control = PERSONAL
        say('Cache-Control', control)
        groups = (*self.groups, *groups)
        if groups:
            say('Cache-Groups', ', '.join(f'"{group}"' for group in groups))


class Part(Piece):
    def __call__(self):
        self.declare()
        return self.text()


class Greeting(Part):
    template = ViewPageTemplateFile('templates/greeting.pt')


class Basket(Part):
    template = ViewPageTemplateFile('templates/basket.pt')

    def books(self):
        return [self.shop.book(id) for id in self.member.basket]


class Top(Part):
    template = ViewPageTemplateFile('templates/top.pt')
    cache_control = 'public, max-age=60'
    groups = ('sales',)


class Talk(Part):
    template = ViewPageTemplateFile('templates/talk.pt')
    cache_control = 'public, max-age=60'
    groups = ('reviews',)


class OfBook(Part):
    """A part that is told by `book` in its query which book it is about."""

    def __call__(self):
        book = self.shop.book(self.request.form.get('book'))
        if book is None:
            self.request.response.setStatus(404)
            return 'There is no such book.'
        self.declare(self.groups_of(book))
        return self.text(book=book.id)

    def text(self, book):
        return self.template(book=self.shop.book(book))

    def groups_of(self, book):
        return ()


class Reviews(OfBook):
    template = ViewPageTemplateFile('templates/reviews.pt')
    cache_control = 'public, max-age=600'

    def groups_of(self, book):
        return (f'reviews-{book.id}',)


class Card(OfBook):
    """One book in a list: the same for all, so that lists which are for one member each share it."""

    template = ViewPageTemplateFile('templates/card.pt')
    cache_control = 'public, max-age=600'


class Recommendations(Part):
    """For one member, but made of cards that are for all: a part with parts."""

    template = ViewPageTemplateFile('templates/recommendations.pt')
    has_parts = True

    def __call__(self):
        asked = self.request.form
        self.declare()
        return self.text(asked.get('book', ''), asked.get('at_most', ''))

    def text(self, book='', at_most=''):
        at_most = int(at_most) if at_most in ('1', '2', '3') else 3
        found = self.shop.recommended(self.member, self.shop.book(book))
        return self.template(books=found[:at_most])

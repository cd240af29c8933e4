"""The pages, and the forms that change something."""

from Products.Five.browser import BrowserView
from Products.Five.browser.pagetemplatefile import ViewPageTemplateFile

from .parts import COOKIE, Piece
from .shop import NAME


class Page(Piece):
    """A page with its parts as tags is the same for everybody and may be kept by any cache."""

    cache_control = 'public, max-age=300'
    has_parts = True

    def __call__(self):
        self.declare()
        return self.text()


class Front(Page):
    template = ViewPageTemplateFile('templates/front.pt')


class BookPage(Page):
    template = ViewPageTemplateFile('templates/book.pt')


class Form(BrowserView):
    """Something that changes the shop: by POST, and for members unless it says otherwise."""

    for_members = True

    @property
    def shop(self):
        return self.context.getPhysicalRoot().books

    def __call__(self):
        response = self.request.response
        response.setHeader('Cache-Control', 'no-store')
        if self.request.method != 'POST':
            response.setStatus(405)
            response.setHeader('Allow', 'POST')
            return 'Only POST changes something.'
        member = self.shop.member(self.request.cookies.get(COOKIE))
        if self.for_members and member is None:
            response.setStatus(403)
            return 'Please log in.'
        return self.post(member)

    def refuse(self, why):
        self.request.response.setStatus(400)
        return why

    def lead_to(self, path):
        self.request.response.setStatus(303)
        self.request.response.setHeader('Location', path)
        return ''

    def stale(self, *groups):
        """Takes these groups of parts out of the gateway's store, before whoever sent this reads on (RFC 9875)."""
        named = ', '.join(f'"{group}"' for group in groups)
        self.request.response.setHeader('Cache-Group-Invalidation', named)


class Login(Form):
    for_members = False

    def post(self, _nobody):
        name = self.request.form.get('name', '')
        if not NAME.fullmatch(name):
            return self.refuse('A name is a letter, then at most 19 letters and digits, all in lower case.')
        self.shop.join(name)
        self.request.response.setCookie(
            COOKIE, self.shop.ticket(name), path='/', http_only=True, same_site='Lax')
        return self.lead_to('/')


class Logout(Form):
    def post(self, _member):
        self.request.response.expireCookie(COOKIE, path='/')
        return self.lead_to('/')


class Put(Form):
    """A book into the basket. Baskets are never stored by anybody, so nothing is stale."""

    def post(self, member):
        book = self.shop.book(self.request.form.get('book'))
        if book is None:
            return self.refuse('There is no such book.')
        if book.id not in member.basket:
            member.basket.append(book.id)
        return self.lead_to(f'/books/{book.id}')


class Order(Form):
    """Buys the basket: the best sellers change for everybody."""

    def post(self, member):
        self.shop.order(member)
        self.stale('sales')
        return self.lead_to('/')


class Review(Form):
    def post(self, member):
        book = self.shop.book(self.request.form.get('book'))
        text = self.request.form.get('text', '').strip()
        if book is None or not 0 < len(text) <= 1000:
            return self.refuse('A review has a book, and up to 1000 characters.')
        self.shop.review(member, book, text)
        self.stale('reviews', f'reviews-{book.id}')
        return self.lead_to(f'/books/{book.id}')

"""What the shop knows, as objects of the ZODB: `/books` with its books, and the members with their baskets. No HTTP here."""

import hashlib
import hmac
import re
import secrets

from BTrees.OOBTree import OOBTree
from OFS.Folder import Folder
from OFS.SimpleItem import SimpleItem
from persistent import Persistent
from persistent.list import PersistentList
from zope.interface import Interface, implementer

NAME = re.compile(r'[a-z][a-z0-9]{0,19}')


class IBook(Interface):
    """A book: its page is at /books/ID."""


@implementer(IBook)
class Book(SimpleItem):
    meta_type = 'Book'

    def __init__(self, id, title, author, shelf, price, sold, about):
        self.id = id
        self.title = title
        self.author = author
        self.shelf = shelf
        self.price = price
        self.sold = sold
        self.about = about
        self.reviews = PersistentList()

    def cost(self):
        return f'{self.price // 100}.{self.price % 100:02}'


class Member(Persistent):
    def __init__(self, name):
        self.name = name
        self.basket = PersistentList()
        self.bought = PersistentList()


class Bookshop(Folder):
    """`/books`: the books, the members, and the key that signs their cookies."""

    meta_type = 'Bookshop'

    def __init__(self, id):
        super().__init__(id)
        self._members = OOBTree()
        self._key = secrets.token_bytes(32)
        self._talk = PersistentList()

    def books(self):
        return self.objectValues('Book')

    def book(self, id):
        """The book of this id, or None; ids come from users."""
        return self._getOb(id, None) if isinstance(id, str) and NAME.fullmatch(id) else None

    def top(self):
        return sorted(self.books(), key=lambda book: (-book.sold, book.id))[:5]

    def talk(self):
        """The latest reviews of all books, the newest first, as (member's name, book, text)."""
        return [(name, self.book(id), text) for name, id, text in reversed(self._talk[-4:])]

    def recommended(self, member, book=None):
        """What somebody may like: from the shelves of what they have and look at first, there the best-selling first."""
        owned = {*member.basket, *member.bought} if member else set()
        near = {self.book(id).shelf for id in owned} | ({book.shelf} if book else set())
        wanted = [other for other in self.books() if other.id not in owned and other is not book]
        return sorted(wanted, key=lambda other: (other.shelf not in near, -other.sold, other.id))

    def join(self, name):
        if name not in self._members:
            self._members[name] = Member(name)
        return self._members[name]

    def review(self, member, book, text):
        book.reviews.append((member.name, text))
        self._talk.append((member.name, book.id, text))

    def order(self, member):
        for id in member.basket:
            self.book(id).sold += 50
        member.bought.extend(member.basket)
        member.basket = PersistentList()

    def ticket(self, name):
        """What a member's cookie holds: the name, and a proof that it was us who wrote it."""
        proof = hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()
        return f'{name}.{proof}'

    def member(self, ticket):
        """The member whose ticket this is, or None."""
        name = (ticket or '').partition('.')[0]
        if NAME.fullmatch(name) and hmac.compare_digest(self.ticket(name).encode(), ticket.encode()):
            return self._members.get(name)
        return None

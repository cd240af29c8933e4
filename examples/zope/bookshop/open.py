"""Opens the shop, once, in an empty database: `zconsole run zope.conf open.py books.json`."""

import json
import sys

import transaction

from bookshop.shop import Book, Bookshop


def open_shop(app, shelf):
    if 'books' in app.objectIds():
        return
    # Zope puts a template of its own at the root, and puts it back when it is deleted: it shows our front page from now on.
    app.index_html.write('<tal:front replace="structure context/@@front" />')
    app._setObject('books', Bookshop('books'))
    for book in shelf:
        app.books._setObject(book['id'], Book(**book))
    transaction.commit()


if __name__ == '__main__':
    with open(sys.argv[-1], encoding='utf-8') as file:
        open_shop(app, json.load(file))  # noqa: F821 (zconsole gives us `app`)

"""A bookshop community on Zope: `shop` is what it knows, `parts` what its pages are made of, `views` its pages and forms."""

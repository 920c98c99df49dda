"""A small blog of four processes: the site, their messages, a look for updates, and updating."""

__version__ = "1.0.0"

"""The error that operators of images see."""


class ImageError(Exception):
    """An image cannot be described or built; the message says which and what to do."""

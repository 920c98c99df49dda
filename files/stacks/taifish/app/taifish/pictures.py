"""Pictures from strangers: what is none is refused, and what is one is written anew.

Decoding and encoding drops whatever else a file carries: scripts behind the last pixel, places
where a photograph was taken.
"""

import io
import threading
import warnings
from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 8_000_000
MAX_PIXELS = 24_000_000
_SMALL = (480, 480)
# A picture takes some 300 MB while it is turned: one for each thread at once would not fit.
_ONE_AT_A_TIME = threading.Lock()
# What Pillow calls them, and how our files end.
_KINDS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}


class PictureError(Exception):
    """What was sent is no picture that we take."""


def check(file: IO[bytes]) -> tuple[bytes, str]:
    """Return a picture's new bytes and how its name ends; raises PictureError."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise PictureError(f"larger than {MAX_BYTES // 1_000_000} MB")
    with _ONE_AT_A_TIME:
        return _again(content)


def _again(content: bytes) -> tuple[bytes, str]:
    image = _open(content)
    kind = image.format or ""
    out = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if kind in ("JPEG", "WEBP"):
            upright.convert("RGB").save(out, kind, quality=88)
        else:
            # Of a moving GIF the first picture.
            upright.save(out, kind)
    except (OSError, ValueError) as error:
        raise PictureError("damaged") from error
    return out.getvalue(), _KINDS[kind]


def thumbnail(content: bytes) -> bytes:
    """Return a small WebP; raises PictureError."""
    image = _open(content)
    try:
        image.thumbnail(_SMALL)
        out = io.BytesIO()
        image.convert("RGB").save(out, "WEBP", quality=80)
    except (OSError, ValueError) as error:
        raise PictureError("damaged") from error
    return out.getvalue()


def _open(content: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow only warns of pictures up to twice its limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=list(_KINDS))
            # Known from the header, before a single pixel takes memory.
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"more than {MAX_PIXELS // 1_000_000} million pixels")
            image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(f"more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise PictureError("no JPEG, PNG, WebP or GIF") from error
    return image

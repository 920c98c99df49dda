"""Pictures: made small with Pillow, handed to the image service."""

from __future__ import annotations

import io
import json
import warnings
from urllib.parse import quote

from PIL import Image, ImageOps, UnidentifiedImageError

from tg2em_scraper.http import Http, HttpError, TooLarge, retry_after

MAX_BYTES = 15 * 1024 * 1024
# A picture of 50 megapixels takes 150 MB when it is opened.
MAX_PIXELS = 50_000_000
_SECONDS = 30.0
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class NotAPictureError(Exception):
    """Trying again is of no use: not a picture, damaged, or larger than the bounds."""


class FetchError(Exception):
    """The picture cannot be had now."""


class ImageServiceError(Exception):
    """The image service is down or refuses; `wait` seconds is what it asks for, or 0."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


def download(http: Http, url: str) -> bytes:
    """The bytes of a picture, bounded in size and time. Raises NotAPictureError or FetchError."""
    try:
        answer = http.get(url, max_bytes=MAX_BYTES, seconds=_SECONDS, redirects=3)
    except TooLarge as error:
        raise NotAPictureError(str(error)) from error
    except HttpError as error:
        raise FetchError(str(error)) from error
    if answer.status != 200:
        raise FetchError(f"the picture's server answers HTTP {answer.status}")
    if not answer.body:
        raise NotAPictureError("the picture is empty")
    return answer.body


def to_webp(data: bytes, max_edge: int = 1024, quality: int = 80) -> bytes:
    """The picture as WebP with no edge longer than `max_edge` pixels; of several frames the first.

    Raises NotAPictureError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise NotAPictureError(f"{image.width}×{image.height} pixels are too many")
                # JPEG can be read at a fraction of its size: less memory, less time.
                image.draft("RGB", (max_edge, max_edge))
                upright = ImageOps.exif_transpose(image)
                has_alpha = upright.has_transparency_data
                picture = upright.convert("RGBA" if has_alpha else "RGB")
        picture.thumbnail((max_edge, max_edge), Image.Resampling.LANCZOS)
        output = io.BytesIO()
        picture.save(output, "WEBP", quality=quality)
    except NotAPictureError:
        raise
    except UnidentifiedImageError as error:
        raise NotAPictureError("not a picture of a known format") from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        MemoryError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise NotAPictureError(f"the picture cannot be read: {type(error).__name__}") from error
    return output.getvalue()


def upload(http: Http, service_url: str, name: str, data: bytes, password: str = "") -> str:
    """Hand a picture to the image service; returns its path there, `/d/<id>`.

    The protocol is tgState's: `POST /api`, multipart field `image`. Raises ImageServiceError.
    """
    url = f"{service_url.rstrip('/')}/api"
    if password:
        url += f"?pass={quote(password, safe='')}"
    try:
        answer = http.post_file(url, "image", name, data, "image/webp", seconds=_SECONDS)
    except HttpError as error:
        raise ImageServiceError(f"image service: {error}") from error
    try:
        reply = json.loads(answer.body)
        code, path = int(reply["code"]), str(reply["message"])
    except (ValueError, KeyError, TypeError) as error:
        raise ImageServiceError(
            f"image service: HTTP {answer.status} without the expected JSON",
            retry_after(answer.headers),
        ) from error
    if code != 1:
        raise ImageServiceError(
            f"image service: HTTP {answer.status}: {path[:200]}", retry_after(answer.headers)
        )
    if not path.startswith("/d/"):
        raise ImageServiceError("image service: the answer names no /d/ path")
    return path

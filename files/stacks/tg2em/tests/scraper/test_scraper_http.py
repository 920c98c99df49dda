"""Bounds of HTTP requests and of pictures, against servers that overstep them."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from image_server import ImageServer
from PIL import Image
from preview_server import PreviewServer, png
from tg2em_scraper import pictures
from tg2em_scraper.http import Http, HttpError, TooLarge, retry_after

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"


@contextmanager
def answering(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that hands its first connection, after the request came, to `serve`."""

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                serve(connection)
            except OSError:
                return  # the client has had enough

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.png?pass=hunter2"
    thread.join(10)
    assert not thread.is_alive()


def drip(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)


def stay_silent(connection: socket.socket) -> None:
    connection.settimeout(5)
    connection.recv(1)  # until the client hangs up


def flood(connection: socket.socket) -> None:
    connection.sendall(HEAD)
    for _ in range(400):
        connection.sendall(b"x" * 100_000)


def test_a_server_that_drips_meets_the_deadline() -> None:
    started = time.monotonic()
    with answering(drip) as url, pytest.raises(HttpError, match="timed out"):
        Http().get(url, max_bytes=1000, seconds=0.5)
    assert time.monotonic() - started < 5


def test_a_silent_server_meets_the_deadline() -> None:
    started = time.monotonic()
    with (
        answering(stay_silent) as url,
        pytest.raises(HttpError, match="timed out"),
    ):
        Http().get(url, max_bytes=1000, seconds=0.3)
    assert time.monotonic() - started < 3


def test_a_flood_is_cut_off() -> None:
    with answering(flood) as url, pytest.raises(TooLarge):
        Http().get(url, max_bytes=100_000)


def test_a_cut_connection() -> None:
    with (
        answering(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx")) as url,
        pytest.raises(HttpError),
    ):
        Http().get(url, max_bytes=1000)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/?pass=hunter2",
        "http://nowhere.invalid/?pass=hunter2",
        "file:///etc/passwd?hunter2",
        "https://127.0.0.1:1/?pass=hunter2",
        "http:///hunter2",
    ],
)
def test_errors_never_show_the_query(url: str) -> None:
    with pytest.raises(HttpError) as caught:
        Http().get(url, max_bytes=10, seconds=3)
    assert "hunter2" not in str(caught.value)


def test_refused_and_unknown_are_told_apart() -> None:
    with pytest.raises(HttpError, match=r"127\.0\.0\.1: no connection"):
        Http().get("http://127.0.0.1:1/", max_bytes=10)


def test_retry_after() -> None:
    now = datetime(2025, 3, 1, 8, tzinfo=UTC)
    assert retry_after({"retry-after": "12"}) == 12
    assert retry_after({"retry-after": "Sat, 01 Mar 2025 08:01:00 GMT"}, now) == 60
    assert retry_after({"retry-after": "Sat, 01 Mar 2025 07:00:00 GMT"}, now) == 0
    assert retry_after({"retry-after": "soon"}) == 0
    assert retry_after({}) == 0


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2000, 1000), (1024, 512)), ((100, 3000), (34, 1024)), ((640, 480), (640, 480))],
)
def test_pictures_become_small_webp(size: tuple[int, int], expected: tuple[int, int]) -> None:
    made = opened(pictures.to_webp(png("x", *size)))
    assert made.format == "WEBP"
    assert made.size == expected


def test_orientation_transparency_palettes_and_animations() -> None:
    def encoded(image: Image.Image, kind: str, **more: object) -> bytes:
        output = io.BytesIO()
        image.save(output, kind, **more)
        return output.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.new("RGB", (2400, 1200), "red"), "JPEG", exif=exif)
    assert opened(pictures.to_webp(turned)).size == (512, 1024)
    clear = encoded(Image.new("RGBA", (10, 10), (255, 0, 0, 0)), "PNG")
    assert opened(pictures.to_webp(clear)).mode == "RGBA"
    frames = [Image.new("P", (10, 10), number) for number in range(3)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert getattr(opened(pictures.to_webp(moving)), "n_frames", 1) == 1
    assert opened(pictures.to_webp(encoded(Image.new("CMYK", (9, 9)), "JPEG"))).size == (9, 9)


@pytest.mark.parametrize("data", [b"", b"<html>", png("x", 50, 50)[:90], b"GIF89a", b"%PDF-1.4"])
def test_no_picture(data: bytes) -> None:
    with pytest.raises(pictures.NotAPictureError):
        pictures.to_webp(data)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    small = png("x", 1, 1)
    bomb = small.replace(b"\0\0\0\1\0\0\0\1\x08\2", b"\0\1\0\0\0\1\0\0\x08\2", 1)
    assert bomb != small
    with pytest.raises(pictures.NotAPictureError):
        pictures.to_webp(bomb)


def test_downloads(pages: PreviewServer) -> None:
    http = Http()
    url = f"{pages.url}/pictures/a-20x10.png"
    assert pictures.download(http, url) == png("a", 20, 10)
    with pytest.raises(pictures.FetchError, match="HTTP 404"):
        pictures.download(http, f"{pages.url}/pictures/gone.png")
    with pytest.raises(pictures.FetchError, match="no connection"):
        pictures.download(http, "http://127.0.0.1:1/x.png")


def test_uploads(images: ImageServer) -> None:
    http = Http()
    path = pictures.upload(http, images.url, "a.webp", b"content")
    assert http.get(images.url + path, max_bytes=100).body == b"content"
    assert images.names == ["a.webp"]
    images.password = "p&ss w=rd"
    with pytest.raises(pictures.ImageServiceError, match="HTTP 401: wrong password"):
        pictures.upload(http, images.url, "a.webp", b"content")
    assert pictures.upload(http, images.url, "a.webp", b"content", images.password) == path
    images.stop()
    with pytest.raises(pictures.ImageServiceError, match="no connection") as caught:
        pictures.upload(http, images.url, "a.webp", b"content", "hunter2")
    assert "hunter2" not in str(caught.value)


def test_another_service_at_that_address(pages: PreviewServer) -> None:
    with pytest.raises(pictures.ImageServiceError, match="without the expected JSON"):
        pictures.upload(Http(), pages.url, "a.webp", b"content")

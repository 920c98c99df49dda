"""A server of channel preview pages, with the structure of the public ones; no libraries needed.

    python preview_server.py --listen 0.0.0.0 --port 8099 [--scenario demo | --dir DIR]

prints `ready http://ADDRESS:PORT` when it listens (port 0: any free one). With --dir, each file
DIR/CHANNEL.json is a channel: the keys of `Channel`, its `posts` a list of the keys of `Post`.

Routes:
    GET  /s/CHANNEL[?before=N]      the preview page, PAGE posts, oldest first
    GET  /CHANNEL                   the page without history that visitors are redirected to
    GET  /pictures/NAME-WxH.png     a PNG picture made from its name, W×H pixels
    GET  /pictures/gone.png         404; /pictures/broken.png: no picture
    GET  /_requests                 JSON: the paths asked for so far, in order
    POST /_channels/CHANNEL         JSON, keys of `Channel`: made or changed (`posts` replaced)
    POST /_channels/CHANNEL/posts   JSON, keys of `Post`: added, or replaced where the id is known
"""

import argparse
import json
import re
import struct
import threading
import zlib
from dataclasses import dataclass, field, replace
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 20
_LINKS = re.compile(r"(?P<url>https?://[^\s<]+)|#(?P<tag>\w+)")


@dataclass(frozen=True)
class Post:
    """One post. `html` replaces what is made from `text`; `date` empty: a post that is broken."""

    id: int
    text: str = ""
    html: str = ""
    photos: tuple[str, ...] = ()
    video: str = ""
    reply: str = ""
    views: str = "987"
    date: str = "2025-03-01T08:00:00+00:00"
    edited: bool = False
    service: bool = False


@dataclass
class Channel:
    """A channel. `preview`: `public`, `redirect` (leads away) or `missing` (no history section).

    The next `throttle` pages are answered with 429 and `retry_after`, the next `errors` with 500.
    """

    title: str = ""
    preview: str = "public"
    throttle: int = 0
    retry_after: str = "1"
    errors: int = 0
    posts: dict[int, Post] = field(default_factory=dict)


def demo() -> dict[str, Channel]:
    """One public channel with a handful of resources, each with a picture."""
    rows = [
        ("三体 全集 4K 修复版", "https://pan.quark.cn/s/0123abcd", "38.5GB", "#科幻 #剧集"),
        ("流浪地球 2", "https://www.alipan.com/s/k3Yz9", "12GB", "#科幻 #电影"),
        ("编程珠玑 PDF", "https://pan.baidu.com/s/1aBcD", "45MB", "#书籍 #编程"),
        ("蓝色星球 纪录片", "https://caiyun.139.com/m/i?abc", "21GB", "#纪录片"),
        ("Linux from Scratch", "https://example.com/lfs.tar.xz", "2GB", "#linux #书籍"),
    ]
    posts = [
        Post(
            id=number,
            text=f"名称：{name}\n\n描述：{name}，画质清晰。\n第二行描述。\n\n链接：{link}\n\n"
            f"📁 大小：{size}\n🏷 标签：{tags}",
            photos=(f"demo{number}-1280x960.png",),
            views=f"{number}.{number}K",
            date=f"2025-03-0{number}T08:00:00+00:00",
        )
        for number, (name, link, size, tags) in enumerate(rows, start=1)
    ]
    return {"demo": Channel(title="演示频道", posts={post.id: post for post in posts})}


def png(name: str, width: int, height: int) -> bytes:
    """A PNG picture, a gradient whose colours depend on the name."""
    seed = zlib.crc32(name.encode())
    red, green, blue = seed & 0xFF, seed >> 8 & 0xFF, seed >> 16 & 0xFF
    rows = bytearray()
    for y in range(height):
        shade = y * 255 // height
        rows += b"\0" + bytes((red ^ shade, green, (blue + shade) & 0xFF)) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 1)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _rich(text: str) -> str:
    def link(match: re.Match[str]) -> str:
        if match["tag"]:
            return f'<a href="?q=%23{match["tag"]}">#{match["tag"]}</a>'
        return f'<a href="{match["url"]}" target="_blank" rel="noopener">{match["url"]}</a>'

    html = _LINKS.sub(link, escape(text, quote=False)).replace("\n", "<br/>")
    emoji = (
        '<i class="emoji" style="background-image:url(\'//telegram.org/img/emoji/40/x.png\')">'
        "<b>\\1</b></i>"
    )
    return re.sub("(📁|🏷)", emoji, html)


def _photos(channel: str, post: Post, base: str) -> str:
    links = [
        f'<a class="tgme_widget_message_photo_wrap js-message_photo" href="{base}/{channel}/'
        f'{post.id + index}{"?single" if len(post.photos) > 1 else ""}" style="width:640px;'
        + (f"background-image:url('{base}/pictures/{name}')" if name else "")
        + '"><div class="tgme_widget_message_photo" style="padding-top:75%"></div></a>'
        for index, name in enumerate(post.photos)
    ]
    if len(links) < 2:
        return "".join(links)
    return (
        '<div class="tgme_widget_message_grouped_wrap js-message_grouped_wrap">'
        '<div class="tgme_widget_message_grouped"><div class="tgme_widget_message_grouped_layer">'
        + "".join(links)
        + "</div></div></div>"
    )


def _post(channel: str, post: Post, base: str) -> str:
    link = f"{base}/{channel}/{post.id}"
    reply = video = text = date = ""
    if post.reply:
        reply = (
            f'<a class="tgme_widget_message_reply" href="{base}/{channel}/1">'
            f'<i class="tgme_widget_message_reply_thumb" style="background-image:url(\'{base}'
            "/pictures/reply-64x64.png')\"></i>"
            '<div class="tgme_widget_message_text js-message_text" dir="auto">'
            f"{escape(post.reply)}</div></a>"
        )
    if post.video:
        video = (
            f'<a class="tgme_widget_message_video_player" href="{link}">'
            f'<i class="tgme_widget_message_video_thumb" style="background-image:url(\'{base}'
            f"/pictures/{post.video}')\"></i></a>"
        )
    body = post.html or _rich(post.text)
    if body:
        text = f'<div class="tgme_widget_message_text js-message_text" dir="auto">{body}</div>'
    if post.date:
        date = f'<time datetime="{post.date}" class="time">08:00</time>'
    edited = "edited " if post.edited else ""
    kind = "service_message " if post.service else ""
    return (
        '<div class="tgme_widget_message_wrap js-widget_message_wrap">'
        f'<div class="tgme_widget_message {kind}js-widget_message" data-post="{channel}/{post.id}">'
        f'<div class="tgme_widget_message_bubble">{reply}{_photos(channel, post, base)}{video}'
        f"{text}"
        '<div class="tgme_widget_message_footer"><div class="tgme_widget_message_info">'
        f'<span class="tgme_widget_message_views">{post.views}</span>'
        f'<span class="tgme_widget_message_meta">{edited}'
        f'<a class="tgme_widget_message_date" href="{link}">{date}</a></span>'
        "</div></div></div></div></div>\n"
    )


def render(name: str, channel: Channel, before: int | None, base: str) -> str:
    """The preview page with the newest posts, or those older than `before`."""
    ids = sorted(number for number in channel.posts if before is None or number < before)
    shown = ids[-PAGE:]
    history = "".join(_post(name, channel.posts[number], base) for number in shown)
    if len(ids) > len(shown):
        history = (
            '<div class="tgme_widget_message_centered js-messages_more_wrap">'
            f'<a href="/s/{name}?before={shown[0]}" class="tme_messages_more js-messages_more"'
            f' data-before="{shown[0]}"></a></div>' + history
        )
    section = (
        f'<section class="tgme_channel_history js-message_history">{history}</section>'
        if channel.preview == "public"
        else ""
    )
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>Telegram</title></head>'
        '<body class="widget_frame_base"><header class="tgme_header"><div class='
        '"tgme_channel_info_header_title"><span dir="auto">'
        f"{escape(channel.title)}</span></div></header>"
        f'<main class="tgme_main" data-url="/{name}">{section}</main></body></html>\n'
    )


class PreviewServer(ThreadingHTTPServer):
    """Serves `channels`; the attribute may be changed while it runs, under `lock`."""

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], channels: dict[str, Channel] | None = None
    ) -> None:
        super().__init__(address, _Handler)
        self.channels = channels if channels is not None else {}
        self.requests: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: PreviewServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: `/_requests` tells what was asked for."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        kind, _, rest = parts.path.lstrip("/").partition("/")
        if kind == "_requests":
            self._answer(200, json.dumps(self.server.requests), "application/json")
            return
        with self.server.lock:
            self.server.requests.append(self.path)
        if kind == "s":
            before = parse_qs(parts.query).get("before", [""])[0]
            self._page(rest, int(before) if before.isdecimal() else None)
        elif kind == "pictures":
            self._picture(rest)
        elif kind in self.server.channels:
            self._answer(200, "<!DOCTYPE html><html><body>Preview channel</body></html>")
        else:
            self._answer(404, "not found", "text/plain")

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        kind, _, rest = urlsplit(self.path).path.lstrip("/").partition("/")
        name, _, what = rest.partition("/")
        if kind != "_channels" or not name or what not in ("", "posts"):
            self._answer(404, "not found", "text/plain")
            return
        try:
            data = json.loads(content)
            with self.server.lock:
                channel = self.server.channels.get(name, Channel())
                if what:
                    post = make_post(data)
                    channel.posts[post.id] = post
                else:
                    channel = make_channel(data, channel)
                self.server.channels[name] = channel
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self._answer(400, f"{type(error).__name__}: {error}", "text/plain")
            return
        self._answer(200, "{}", "application/json")

    def _page(self, name: str, before: int | None) -> None:
        with self.server.lock:
            channel = self.server.channels.get(name)
            if channel is None or channel.preview == "redirect":
                self._answer(302, "", location=f"/{name}")
            elif channel.throttle > 0:
                channel.throttle -= 1
                self._answer(429, "slow down", "text/plain", retry_after=channel.retry_after)
            elif channel.errors > 0:
                channel.errors -= 1
                self._answer(500, "broken", "text/plain")
            else:
                base = f"http://{self.headers.get('Host', '')}"
                self._answer(200, render(name, channel, before, base))

    def _picture(self, name: str) -> None:
        match = re.fullmatch(r"(.+)-(\d{1,5})x(\d{1,5})\.png", name)
        if name == "broken.png":
            self._answer(200, "<html>no picture</html>", "image/png")
        elif match is None:
            self._answer(404, "not found", "text/plain")
        else:
            self._answer(200, png(match[1], int(match[2]), int(match[3])), "image/png")

    def _answer(
        self,
        status: int,
        body: str | bytes,
        kind: str = "text/html; charset=utf-8",
        location: str = "",
        retry_after: str = "",
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if location:
            self.send_header("Location", location)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data)


def make_post(data: dict[str, Any]) -> Post:
    """A post from JSON; an unknown key is a TypeError."""
    return Post(**{**data, "photos": tuple(data.get("photos", ()))})


def make_channel(data: dict[str, Any], old: Channel | None = None) -> Channel:
    """A channel from JSON, or what the JSON changes of an old one."""
    changes = dict(data)
    if "posts" in changes:
        changes["posts"] = {post.id: post for post in map(make_post, changes["posts"])}
    return replace(old or Channel(), **changes)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scenario", choices=["demo", "empty"], default="demo")
    parser.add_argument("--dir", type=Path)
    arguments = parser.parse_args()
    channels = demo() if arguments.scenario == "demo" and not arguments.dir else {}
    for path in sorted(arguments.dir.glob("*.json")) if arguments.dir else ():
        channels[path.stem] = make_channel(json.loads(path.read_text(encoding="utf-8")))
    server = PreviewServer((arguments.listen, arguments.port), channels)
    print(f"ready {server.url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

"""The board: posts with pictures, comments, exports, and the same posts as JSON."""

import re
import secrets
from http import HTTPStatus
from typing import Any

from flask import (
    Blueprint,
    abort,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests
from werkzeug.wrappers import Response

from moorage.application.errors import wants_json
from moorage.panel.text import gettext as _
from taifish import db, files, jobs, pictures
from taifish.site import member, site, text, user

blueprint = Blueprint("board", __name__)

_PAGE = 20
_CACHE_SECONDS = 10
_FILE = re.compile(r"[0-9a-f]{32}\.(jpg|png|webp|gif)")
_POSTS = (
    "SELECT p.id, b.slug AS board, p.title, p.body, u.shown AS author, p.picture, p.thumb,"
    " p.created_at, (SELECT count(*) FROM comments c WHERE c.post_id = p.id) AS comments"
    " FROM posts p JOIN boards b ON b.id = p.board_id JOIN users u ON u.id = p.user_id"
)


@blueprint.get("/")
def home() -> ResponseReturnValue:
    """Show the boards and the newest posts."""
    boards = _cached("boards", lambda: site().database.rows("SELECT * FROM boards ORDER BY id"))
    posts = _cached("front", lambda: _newest(_PAGE))
    return render_template("home.html", boards=boards, posts=posts)


@blueprint.get("/b/<slug>")
def show(slug: str) -> ResponseReturnValue:
    """Show a board's posts, newest first; `before` is the post that the last page ended with."""
    board, before = _board(slug), request.args.get("before", type=int)

    def make() -> list[db.Row]:
        return site().database.rows(
            f"{_POSTS} WHERE p.board_id = %s AND (%s::numeric IS NULL OR p.id < %s)"
            " ORDER BY p.id DESC LIMIT %s",
            [board["id"], before, before, _PAGE],
        )

    # Pages further back are rarely asked for twice.
    posts = make() if before else _cached(f"board:{slug}", make)
    return render_template("board.html", board=board, posts=posts, more=len(posts) == _PAGE)


@blueprint.post("/b/<slug>/posts")
def post(slug: str) -> ResponseReturnValue:
    """Post, with a picture or without."""
    author, board = member(), _board(slug)
    title = text(request.form.get("title", ""), 120)
    body = text(request.form.get("body", ""), 10_000, lines=True)
    sent = request.files.get("picture")
    name = ""
    if not title or not body:
        return _refused(board, _("A post has a title and a text."))
    _brake(author)
    if sent is not None and sent.filename:
        try:
            content, ending = pictures.check(sent.stream)
        except pictures.PictureError as error:
            return _refused(board, _("This picture is not taken: %(why)s", why=_reason(error)))
        # Nothing of the name that it had.
        name = f"{secrets.token_hex(16)}.{ending}"
        files.replace(site().config.data / "uploads" / name, content)
    with site().database.transaction() as connection:
        row = connection.execute(
            "INSERT INTO posts (board_id, user_id, title, body, picture)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING id",
            [board["id"], author["id"], title, body, name],
        ).fetchone()
        assert row is not None
        key = f"thumbnail:{row['id']}"
        if name:
            jobs.enqueue(connection, key, "thumbnail", post=row["id"])
    if name:
        jobs.publish(site().database, site().queue, [key])
    site().cache.forget("front", f"board:{slug}")
    return redirect(url_for("board.read", number=row["id"]), 303)


@blueprint.get("/p/<int:number>")
def read(number: int) -> ResponseReturnValue:
    """Show a post and its comments."""
    comments = site().database.rows(
        "SELECT c.*, u.shown AS author FROM comments c JOIN users u ON u.id = c.user_id"
        " WHERE c.post_id = %s ORDER BY c.id LIMIT 1000",
        [number],
    )
    return render_template("post.html", post=_post(number), comments=comments)


@blueprint.post("/p/<int:number>/comments")
def comment(number: int) -> ResponseReturnValue:
    """Comment on a post; its author is told."""
    author, found = member(), _post(number)
    body = text(request.form.get("body", ""), 4000, lines=True)
    if not body:
        flash(_("A comment has a text."), "error")
        return redirect(url_for("board.read", number=number), 303)
    _brake(author)
    with site().database.transaction() as connection:
        row = connection.execute(
            "INSERT INTO comments (post_id, user_id, body) VALUES (%s, %s, %s) RETURNING id",
            [number, author["id"], body],
        ).fetchone()
        assert row is not None
        key = f"notification:{row['id']}"
        jobs.enqueue(connection, key, "notification", comment=row["id"])
    jobs.publish(site().database, site().queue, [key])
    site().cache.forget("front", f"board:{found['board']}")
    return redirect(url_for("board.read", number=number, _anchor=f"c{row['id']}"), 303)


@blueprint.get("/uploads/<name>", defaults={"folder": "uploads"})
@blueprint.get("/thumbs/<name>", defaults={"folder": "thumbs"}, endpoint="thumb")
def picture(name: str, folder: str) -> ResponseReturnValue:
    """Send a picture; its name never gets another content."""
    found = _FILE.fullmatch(name)
    if found is None:
        abort(404)
    answer = send_from_directory(
        site().config.data / folder, name, mimetype=pictures.TYPES[found[1]], max_age=365 * 86400
    )
    answer.cache_control.immutable = True
    # Whatever it is after all: as a document of this site it may run nothing.
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return answer


@blueprint.post("/b/<slug>/exports")
def export(slug: str) -> ResponseReturnValue:
    """Have the board written as CSV."""
    author, board, number = member(), _board(slug), secrets.token_urlsafe(16)
    _brake(author)
    key = f"export:{number}"
    with site().database.transaction() as connection:
        connection.execute(
            "INSERT INTO exports (id, board_id, user_id) VALUES (%s, %s, %s)",
            [number, board["id"], author["id"]],
        )
        jobs.enqueue(connection, key, "export", export=number)
    jobs.publish(site().database, site().queue, [key])
    return redirect(url_for("board.exported", number=number), 303)


@blueprint.get("/exports/<number>")
def exported(number: str) -> ResponseReturnValue:
    """Tell how far an export is."""
    found = _export(number)
    ready = found["state"] == "done"
    download = url_for("board.download", number=number) if ready else None
    if wants_json():
        return jsonify(id=number, state=found["state"], rows=found["rows"], download=download)
    return render_template("export.html", export=found, download=download)


@blueprint.get("/exports/<number>/download")
def download(number: str) -> ResponseReturnValue:
    """Send the file; 404 until it is there."""
    found = _export(number)
    if found["state"] != "done":
        abort(404)
    return send_from_directory(
        site().config.data / "exports",
        f"{number}.csv",
        mimetype="text/csv",
        as_attachment=True,
        download_name=f"{found['slug']}.csv",
        max_age=0,
    )


@blueprint.get("/api/posts")
def api_posts() -> ResponseReturnValue:
    """Return the newest posts, at most 100."""
    given = request.args.get("limit", "20")
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= 100:
        abort(400, description=f"limit must be a number from 1 to 100, not {given[:20]!r}")
    found = _cached(f"api:{int(given)}", lambda: [_public(p) for p in _newest(int(given))])
    return jsonify(posts=found)


def _newest(count: int) -> list[db.Row]:
    return site().database.rows(f"{_POSTS} ORDER BY p.id DESC LIMIT %s", [count])


def _public(row: db.Row) -> db.Row:
    links = {
        "picture": url_for("board.picture", name=row["picture"]) if row["picture"] else None,
        "thumb": url_for("board.thumb", name=row["thumb"]) if row["thumb"] else None,
        "created_at": row["created_at"].isoformat(),
    }
    return row | links


def _cached(key: str, make: Any) -> Any:
    # Whoever is signed in may have just posted, and looks for it.
    return make() if user() else site().cache.remember(key, _CACHE_SECONDS, make)


def _board(slug: str) -> db.Row:
    found = site().database.row("SELECT * FROM boards WHERE slug = %s", [slug])
    return found or abort(404)


def _post(number: int) -> db.Row:
    if number >= 2**63:
        abort(404)
    return site().database.row(f"{_POSTS} WHERE p.id = %s", [number]) or abort(404)


def _export(number: str) -> db.Row:
    found = site().database.row(
        "SELECT e.*, b.slug, coalesce(j.state, 'done') AS state FROM exports e"
        " JOIN boards b ON b.id = e.board_id LEFT JOIN jobs j ON j.key = 'export:' || e.id"
        " WHERE e.id = %s",
        [text(number, 64)],
    )
    reader = member()
    if not found or (found["user_id"] != reader["id"] and not reader["is_admin"]):
        abort(404)
    return found


def _brake(author: db.Row) -> None:
    if site().limits.count(f"post:{author['id']}", 60) > site().web.post_limit:
        raise TooManyRequests(retry_after=60)


def _reason(error: pictures.PictureError) -> str:
    known = {
        "damaged": _("it is damaged"),
        "no JPEG, PNG, WebP or GIF": _("it is no JPEG, PNG, WebP or GIF"),
    }
    return known.get(str(error)) or _("it is too large")


def _refused(board: db.Row, why: str) -> tuple[str, int] | Response:
    flash(why, "error")
    form = {name: request.form.get(name, "")[:10_000] for name in ("title", "body")}
    page = render_template("board.html", board=board, posts=[], more=False, form=form)
    return page, HTTPStatus.UNPROCESSABLE_ENTITY

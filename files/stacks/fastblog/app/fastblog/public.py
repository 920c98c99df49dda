"""What everybody sees: posts, tags, search, the feed, and comments."""

from datetime import UTC, datetime

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import TooManyRequests

from fastblog import comments, posts
from fastblog.comments import Comment
from fastblog.posts import PAGE
from fastblog.site import external, page, site
from moorage.panel.sign_in import caller
from moorage.panel.text import gettext as _

blueprint = Blueprint("public", __name__)


def _show(rows: list[posts.Row], **words: object) -> str:
    shown = rows[:PAGE]
    tags = posts.tags_of(site().database, *(row["id"] for row in shown))
    more = len(rows) > PAGE
    return render_template("list.html", posts=shown, tags=tags, more=more, page=page(), **words)


@blueprint.get("/")
def index() -> str:
    """Show the newest posts."""
    return _show(posts.listed(site().database, page()))


@blueprint.get("/tags/<tag>")
def tagged(tag: str) -> str:
    """Show the posts of a tag."""
    return _show(posts.listed(site().database, page(), tag), tag=tag)


@blueprint.get("/search")
def search() -> str:
    """Show the posts that have all words of `q`."""
    question = posts.line(request.args.get("q", ""), 200)
    return _show(posts.found(site().database, question, page()), question=question)


def _published(slug: str) -> posts.Row:
    found = site().database.row("SELECT * FROM posts WHERE slug = ? AND published = 1", slug)
    if found is None:
        abort(404)
    return found


@blueprint.get("/posts/<slug>")
def post(slug: str) -> str:
    """Show a post with its comments."""
    found = _published(slug)
    return _page(found)


def _page(found: posts.Row, name: str = "", body: str = "") -> str:
    database = site().database
    said = database.rows(
        "SELECT * FROM comments WHERE post = ? AND state = 'shown' ORDER BY id LIMIT 500",
        found["id"],
    )
    return render_template(
        "post.html",
        post=found,
        tags=posts.tags_of(database, found["id"])[found["id"]],
        comments=said,
        stamp=site().stamps.make(found["id"]),
        name=name,
        body=body,
    )


@blueprint.post("/posts/<slug>/comments")
def comment(slug: str) -> ResponseReturnValue:
    """Take a comment, and say what became of it; robots are told that it was shown."""
    found, settings = _published(slug), site().settings()
    if settings["comments"] != "on":
        abort(403, description=_("Comments are closed."))
    if wait := site().comment_limit.take(caller()):
        raise TooManyRequests(retry_after=int(wait) + 1)
    form = request.form
    fields = {name: form.get(name, "")[:100_000] for name in ("name", "body", "website", "stamp")}
    given = Comment(found["id"], **fields)
    age = site().stamps.age(given.stamp, given.post)
    try:
        with site().database.transaction() as connection:
            state = comments.add(connection, given, age, settings["blocked"])
    except ValueError:
        flash(_("A comment has a name and a text."), "error")
        return _page(found, given.name, given.body), 422
    if state == comments.WAITING:
        flash(_("Thank you. Your comment is shown once somebody has looked at it."), "success")
    else:
        flash(_("Thank you for your comment."), "success")
    return redirect(url_for("public.post", slug=slug) + "#comments", 303)


@blueprint.get("/feed.atom")
def feed() -> Response:
    """Send the newest posts as an Atom feed (RFC 4287)."""
    rows = posts.listed(site().database, 1)[:PAGE]
    newest = max((row["updated_at"] for row in rows), default=0.0)
    text = render_template("feed.atom.xml", posts=rows, newest=newest, external=external)
    answer = Response(text, content_type="application/atom+xml; charset=utf-8")
    answer.last_modified = datetime.fromtimestamp(newest, UTC)
    answer.add_etag()
    answer.make_conditional(request)
    return answer

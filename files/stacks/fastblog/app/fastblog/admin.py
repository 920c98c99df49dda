"""The administrator's pages: posts with preview, comments, settings, import and export."""

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from fastblog import archive, markup, posts
from fastblog.messages import announce
from fastblog.site import DEFAULTS, THEMES, page, site
from moorage.panel.text import gettext as _

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
_HIGHEST = 2**63 - 1


@blueprint.before_request
def _nobody_else() -> ResponseReturnValue | None:
    return site().gate.require()


@blueprint.url_value_preprocessor
def _small_numbers(_endpoint: str | None, values: dict[str, object] | None) -> None:
    # SQLite has no larger ones.
    if any(isinstance(value, int) and value > _HIGHEST for value in (values or {}).values()):
        abort(404)


@blueprint.get("/")
def dashboard() -> str:
    """Show posts, drafts first, and the comments that somebody has to look at."""
    rows = site().database.rows(
        "SELECT * FROM posts ORDER BY published, updated_at DESC LIMIT 51 OFFSET ?",
        (page() - 1) * 50,
    )
    said = site().database.rows(
        "SELECT c.*, p.title, p.slug FROM comments c JOIN posts p ON p.id = c.post"
        " ORDER BY c.state = 'waiting' DESC, c.id DESC LIMIT 50"
    )
    return render_template(
        "admin.html", posts=rows[:50], more=len(rows) > 50, page=page(), comments=said
    )


def _post(number: int) -> posts.Row:
    found = site().database.row("SELECT * FROM posts WHERE id = ?", number)
    if found is None:
        abort(404)
    return found


@blueprint.get("/posts/new")
def new() -> str:
    """Show an empty form."""
    return render_template("edit.html", number=None, post={}, preview=False)


@blueprint.get("/posts/<int:number>")
def edit(number: int) -> str:
    """Show a post's form."""
    found = _post(number)
    tags = posts.tags_of(site().database, number)[number]
    return render_template("edit.html", number=number, post=found, tags=tags, preview=False)


@blueprint.post("/posts/new")
@blueprint.post("/posts/<int:number>")
def save(number: int | None = None) -> ResponseReturnValue:
    """Save a post, as a draft or for everybody; or only show what it would look like."""
    form, wanted = request.form, request.form.get("action", "draft")
    if len(form.get("body", "")) > markup.LONGEST_POST * 1.1:
        abort(413)
    draft = posts.Draft(
        form.get("title", ""),
        form.get("body", ""),
        form.get("slug", ""),
        form.get("tags", "").replace("，", ",").split(","),
        wanted == "publish",
    )
    if wanted != "preview":
        try:
            with site().database.transaction() as connection:
                saved = posts.save(connection, draft, number)
        except ValueError:
            flash(_("A post has a title, and an address that no other one has."), "error")
        else:
            if draft.published:
                announce("posts", slug=draft.slug, title=draft.title)
            flash(_("Published.") if draft.published else _("Saved as a draft."), "success")
            return redirect(url_for("admin.edit", number=saved), 303)
    answer = render_template(
        "edit.html", number=number, post=draft, tags=draft.tags, preview=wanted == "preview"
    )
    return answer, 200 if wanted == "preview" else 422


@blueprint.post("/posts/<int:number>/delete")
def delete(number: int) -> ResponseReturnValue:
    """Delete a post with its comments."""
    with site().database.transaction() as connection:
        if not posts.remove(connection, number):
            abort(404)
    flash(_("Deleted."), "success")
    return redirect(url_for("admin.dashboard"), 303)


@blueprint.post("/comments/<int:number>/<any(shown, spam, delete):state>")
def judge(number: int, state: str) -> ResponseReturnValue:
    """Show a comment, or not, or delete it."""
    statement, given = "UPDATE comments SET state = ?, reason = '' WHERE id = ?", [state, number]
    if state == "delete":
        statement, given = "DELETE FROM comments WHERE id = ?", [number]
    if not site().database.run(statement, *given):
        abort(404)
    return redirect(url_for("admin.dashboard") + "#comments", 303)


@blueprint.get("/settings")
def settings() -> str:
    """Show what can be set."""
    return render_template("settings.html", themes=THEMES, most=archive.MOST_UPLOADED)


@blueprint.post("/settings")
def change_settings() -> ResponseReturnValue:
    """Set it."""
    form = request.form
    given = {name: posts.line(form.get(name, ""), 200) for name in ("title", "tagline", "theme")}
    given["title"] = given["title"] or DEFAULTS["title"]
    given["blocked"] = posts.plain(form.get("blocked", ""))[:10_000]
    given["comments"] = "on" if form.get("comments") else "off"
    if given["theme"] not in THEMES:
        abort(422, description=_("There is no such theme."))
    with site().database.transaction() as connection:
        connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", given.items())
    flash(_("Saved."), "success")
    return redirect(url_for("admin.settings"), 303)


@blueprint.get("/export.zip")
def export() -> Response:
    """Send everything as a ZIP file."""
    sent = Response(archive.export(site().database), content_type="application/zip")
    sent.headers["Content-Disposition"] = 'attachment; filename="fastblog.zip"'
    sent.headers["Cache-Control"] = "no-store"
    return sent


@blueprint.post("/import")
def take_in() -> ResponseReturnValue:
    """Take in an archive or a Markdown file."""
    file = request.files.get("file")
    content = file.read(archive.MOST_UPLOADED + 1) if file else b""
    try:
        name = (file.filename if file else "") or ""
        number, said = archive.take_in(site().database, name, content)
    except archive.Refused as error:
        flash(_("Nothing was taken in: %(why)s", why=str(error)), "error")
    else:
        words = _("%(posts)d posts and %(said)d comments were taken in.", posts=number, said=said)
        flash(words, "success")
    return redirect(url_for("admin.settings"), 303)

"""The administration: overview, articles, settings."""

from dataclasses import fields
from typing import Any

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from tg2em_core import articles, options
from tg2em_core.articles import Filter
from tg2em_core.models import Article, PictureRetry
from tg2em_core.options import InvalidOption, Options

from moorage.panel.blueprint import snapshot
from moorage.panel.text import gettext as _
from tg2em_frontend import auth, names
from tg2em_frontend.links import external
from tg2em_frontend.store import db, settings, store

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
blueprint.before_request(auth.require)

PAGE_SIZE = 30
GROUPS = ("scraper", "images", "site")


@blueprint.get("")
def dashboard() -> str:
    """Show the services and the totals."""
    waiting = db().scalar(select(func.count(PictureRetry.article_id))) or 0
    return render_template(
        "admin/dashboard.html",
        totals=articles.statistics(db()),
        waiting=waiting,
        **snapshot(current_app.extensions["control"]),
    )


@blueprint.get("/articles")
def listing() -> str:
    """List articles for editing, searched when asked to."""
    query = request.args.get("q", "").strip()[:100]
    wanted = Filter(query=query, engine=store().search_engine(db()))
    page = articles.page(db(), wanted, request.args.get("page", 1, type=int), PAGE_SIZE)
    return render_template("admin/articles.html", page=page, query=query)


@blueprint.get("/articles/<int:article_id>")
def edit(article_id: int) -> str:
    """Show one article's form."""
    return render_template("admin/article.html", article=_article(article_id))


@blueprint.post("/articles/<int:article_id>")
def save(article_id: int) -> ResponseReturnValue:
    """Change an article's words."""
    article = _article(article_id)
    name = request.form.get("name", "").strip()[:500]
    link = request.form.get("link", "").strip()[:2048]
    if not name or (link and not external(link)):
        text = _("An article needs a name.") if not name else _("The link must be http or https.")
        flash(text, "error")
        return render_template("admin/article.html", article=article, given=request.form), 422
    articles.edit(
        db(),
        article,
        name=name,
        description=request.form.get("description", "").replace("\r\n", "\n").strip(),
        link=link,
        tags=request.form.get("tags", "").replace("，", ",").split(","),
    )
    db().commit()
    flash(_("Saved."), "success")
    return redirect(url_for("admin.edit", article_id=article_id), 303)


@blueprint.post("/articles/<int:article_id>/delete")
def remove(article_id: int) -> ResponseReturnValue:
    """Take an article out of every list; it can be put back at once."""
    articles.delete(_article(article_id))
    db().commit()
    flash(str(article_id), "deleted")
    return redirect(url_for("admin.listing"), 303)


@blueprint.post("/articles/<int:article_id>/restore")
def restore(article_id: int) -> ResponseReturnValue:
    """Put a deleted article back."""
    found = db().get(Article, article_id)
    if found is None:
        abort(404)
    articles.restore(found)
    db().commit()
    flash(_("The article is back."), "success")
    return redirect(url_for("admin.edit", article_id=article_id), 303)


@blueprint.get("/settings")
def show_settings() -> str:
    """Show all settings."""
    return _settings({})


@blueprint.post("/settings")
def save_settings() -> ResponseReturnValue:
    """Store the settings of one group; nothing is stored when one of them is wrong."""
    group = request.form.get("group", "")
    if group not in GROUPS:
        abort(400)
    given = _given(group)
    try:
        options.save(db(), given)
    except InvalidOption as error:
        reason = names.REASONS.get(error.reason, error.reason)
        flash(f"{names.OPTIONS[error.name]}: {reason}", "error")
        return _settings(given), 422
    db().commit()
    flash(_("Saved."), "success")
    return redirect(url_for("admin.show_settings") + f"#{group}", 303)


def _given(group: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for item in fields(Options):
        if item.metadata["group"] != group:
            continue
        value = request.form.get(item.name, "")
        if item.metadata["secret"] and not value:
            # Never sent to the browser, so an empty field means: as it was.
            if request.form.get(f"{item.name}_clear"):
                given[item.name] = ""
            continue
        given[item.name] = value
    return given


def _settings(given: dict[str, Any]) -> str:
    current = settings()
    rows = {group: [i for i in fields(Options) if i.metadata["group"] == group] for group in GROUPS}
    values = {item.name: getattr(current, item.name) for item in fields(Options)} | given
    return render_template("admin/settings.html", groups=rows, values=values, labels=names.OPTIONS)


def _article(article_id: int) -> Article:
    found = articles.get(db(), article_id)
    if found is None:
        abort(404)
    return found

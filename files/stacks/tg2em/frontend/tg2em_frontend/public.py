"""What visitors see: the list, search, tags, one article."""

from flask import Blueprint, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue
from tg2em_core import articles
from tg2em_core.articles import Filter
from tg2em_core.models import Category

from moorage.panel.assets import asset_url
from tg2em_frontend.store import db, settings, store

blueprint = Blueprint("public", __name__)

MAX_QUERY = 100


@blueprint.get("/")
def index() -> str:
    """Show all articles, newest first, or those of one kind of cloud drive."""
    return _list(Filter(category=_category()), heading="all")


@blueprint.get("/search")
def search() -> str:
    """Show the articles that contain every word of the query."""
    query = request.args.get("q", "").strip()[:MAX_QUERY]
    wanted = Filter(query=query, category=_category(), engine=store().search_engine(db()))
    return _list(wanted, heading="search")


@blueprint.get("/tag/<tag>")
def tag(tag: str) -> str:
    """Show the articles that carry a tag."""
    return _list(Filter(tag=tag, category=_category()), heading="tag")


@blueprint.get("/article/<int:article_id>")
def article(article_id: int) -> str:
    """Show one article."""
    found = articles.get(db(), article_id)
    if found is None:
        abort(404)
    return render_template("article.html", article=found)


@blueprint.get("/favicon.ico")
def favicon() -> ResponseReturnValue:
    """Lead whoever asks without having seen a page's own address of the icon to it."""
    return redirect(asset_url("static", "icon.svg"), 301)


def _category() -> Category | None:
    given = request.args.get("category", "")
    return Category(given) if given in set(Category) else None


def _list(wanted: Filter, *, heading: str) -> str:
    number = request.args.get("page", 1, type=int)
    page = articles.page(db(), wanted, number, settings().site_page_size)
    tags = articles.popular_tags(db()) if heading == "all" and page.number == 1 else []
    return render_template("list.html", page=page, wanted=wanted, heading=heading, tags=tags)

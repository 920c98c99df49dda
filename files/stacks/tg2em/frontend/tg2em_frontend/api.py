"""The public JSON: articles, one article, totals."""

from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from tg2em_core import articles
from tg2em_core.articles import Filter
from tg2em_core.models import Article, Category

from tg2em_frontend.links import external, image_url
from tg2em_frontend.store import db, store

blueprint = Blueprint("api", __name__, url_prefix="/api")

MAX_LIMIT = 100


@blueprint.get("/articles")
def listing() -> Response:
    """Return a page of articles; `page`, `limit` (at most 100), `q`, `tag`, `category`."""
    category = request.args.get("category", "")
    if category and category not in set(Category):
        abort(400, description=f"category must be one of {', '.join(Category)}")
    wanted = Filter(
        query=request.args.get("q", "")[:100],
        tag=request.args.get("tag", ""),
        category=Category(category) if category else None,
        engine=store().search_engine(db()),
    )
    found = articles.page(db(), wanted, _number("page", 1, None), _number("limit", 20, MAX_LIMIT))
    return jsonify(
        articles=[_article(a) for a in found.items],
        page=found.number,
        limit=found.size,
        pages=found.pages,
        total=found.total,
    )


@blueprint.get("/article/<int:article_id>")
def one(article_id: int) -> Response:
    """Return one article."""
    found = articles.get(db(), article_id)
    if found is None:
        abort(404)
    return jsonify(_article(found))


@blueprint.get("/stats")
def stats() -> Response:
    """Return totals."""
    return jsonify(articles.statistics(db()))


def _number(name: str, default: int, highest: int | None) -> int:
    given = request.args.get(name)
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= 2**31:
        abort(400, description=f"{name} must be a whole number from 1")
    return int(given) if highest is None else min(int(given), highest)


def _article(article: Article) -> dict[str, Any]:
    return {
        "id": article.id,
        "title": article.title,
        "name": article.name,
        "description": article.description,
        "link": external(article.link),
        "size": article.size,
        "category": article.category.value,
        "image": image_url(article) or None,
        "tags": [tag.name for tag in article.tags],
        "channel": article.channel.name,
        "message_id": article.message_id,
        "views": article.views,
        "posted_at": article.posted_at.isoformat(),
    }

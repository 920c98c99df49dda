"""The channels that are read."""

import re

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import exists, func, select
from sqlalchemy.exc import IntegrityError
from tg2em_core.models import Article, Channel, Message, ProcessedMessage, Source

from moorage.panel.text import gettext as _
from tg2em_frontend import auth, names
from tg2em_frontend.store import db

blueprint = Blueprint("channels", __name__, url_prefix="/admin/channels")
blueprint.before_request(auth.require)

# Telegram's rule for public names.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}")
_ADDRESS = re.compile(r"^(?:https?://)?(?:[a-z]+\.)?(?:t|telegram)\.(?:me|dog)/(?:s/)?", re.I)


def channel_name(given: str) -> str:
    """Return the channel's name from what people paste: @name, an address; empty if it is none."""
    word = _ADDRESS.sub("", given.strip()).removeprefix("@").split("/")[0].split("?")[0]
    return word if _NAME.fullmatch(word) else ""


@blueprint.get("")
def listing() -> str:
    """List the channels with what they have brought."""
    counts = (
        select(Article.channel_id, func.count().label("number"))
        .where(Article.deleted_at.is_(None))
        .group_by(Article.channel_id)
        .subquery()
    )
    rows = db().execute(
        select(Channel, func.coalesce(counts.c.number, 0))
        .outerjoin(counts, counts.c.channel_id == Channel.id)
        .order_by(Channel.name)
    )
    return render_template("admin/channels.html", rows=rows.all(), sources=names.SOURCES)


@blueprint.post("")
def add() -> ResponseReturnValue:
    """Add a channel."""
    name = channel_name(request.form.get("name", ""))
    if not name:
        flash(_("That is not a channel's name, such as @example or t.me/example."), "error")
        return redirect(url_for("channels.listing"), 303)
    db().add(Channel(name=name, source=_source()))
    try:
        db().commit()
    except IntegrityError:
        db().rollback()
        flash(_("This channel is there already."), "error")
    else:
        flash(_("%(name)s will be read in the next round.", name=name), "success")
    return redirect(url_for("channels.listing"), 303)


@blueprint.post("/<int:channel_id>")
def change(channel_id: int) -> ResponseReturnValue:
    """Switch a channel on or off, or read it in another way."""
    channel = _channel(channel_id)
    channel.enabled = request.form.get("enabled") == "1"
    channel.source = _source()
    db().commit()
    flash(_("Saved."), "success")
    return redirect(url_for("channels.listing"), 303)


@blueprint.post("/<int:channel_id>/delete")
def remove(channel_id: int) -> ResponseReturnValue:
    """Remove a channel that has brought nothing; one that has can only be switched off.

    Its messages must stay known: they would all come again if it were added once more.
    """
    channel = _channel(channel_id)
    used = [exists().where(k.channel_id == channel_id) for k in (Message, ProcessedMessage)]
    if any(db().scalar(select(condition)) for condition in used):
        flash(
            _("%(name)s has brought messages; switch it off instead.", name=channel.name), "error"
        )
    else:
        db().delete(channel)
        db().commit()
        flash(_("Removed."), "success")
    return redirect(url_for("channels.listing"), 303)


def _source() -> Source:
    given = request.form.get("source", Source.PREVIEW.value)
    if given not in set(Source):
        abort(400)
    return Source(given)


def _channel(channel_id: int) -> Channel:
    found = db().get(Channel, channel_id)
    if found is None:
        abort(404)
    return found

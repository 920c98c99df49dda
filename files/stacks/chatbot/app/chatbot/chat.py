"""The visitor's side: the chat page and the JSON API that it uses.

A conversation belongs to whoever sends its token: `Authorization: Bearer TOKEN`. No cookie gives
access, so no other site can act for a visitor.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, abort, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from werkzeug.exceptions import Conflict, NotFound, Unauthorized

from chatbot import conversations, knowledge
from chatbot.conversations import BOT, LONGEST_QUESTION, WAITING
from chatbot.db import Row
from chatbot.limits import origin
from chatbot.site import limit, site
from chatbot.texts import text
from moorage.panel.text import gettext as _

blueprint = Blueprint("chat", __name__)
_PIECE = 24
# Beyond that PostgreSQL has no such number.
_HIGHEST = 2**63 - 1


@blueprint.get("/")
def page() -> ResponseReturnValue:
    """Show the chat."""
    return render_template("chat.html", longest=LONGEST_QUESTION)


def conversation() -> Row:
    """Return the conversation of the request's token; raises Unauthorized and NotFound."""
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not 40 <= len(token) <= 64:
        raise Unauthorized
    found = conversations.held(site().database, token)
    if found is None:
        raise NotFound
    return found


def whole_number(name: str) -> int:
    """Return a number of the address, 0 without one; anything else is answered with 400."""
    given = request.args.get(name, "0")
    if not given.isascii() or not given.isdigit() or int(given[:20]) > _HIGHEST:
        abort(400, description=f"{name} must be a whole number")
    return int(given)


@blueprint.post("/api/conversations")
def begin() -> ResponseReturnValue:
    """Begin a conversation; its token is told this once."""
    web = site().web
    limit(f"conversation:{origin(request.remote_addr)}", web.conversation_limit, 3600)
    token = conversations.begin(site().database, str(get_locale()))
    return jsonify(token=token), 201


@blueprint.get("/api/conversation")
def export() -> ResponseReturnValue:
    """Return all of it, to be kept."""
    found = conversation()
    answer = jsonify(conversations.export(site().database, found))
    answer.headers["Content-Disposition"] = 'attachment; filename="conversation.json"'
    return answer


@blueprint.delete("/api/conversation")
def erase() -> ResponseReturnValue:
    """Delete it with all that was said."""
    conversations.erase(site().database, conversation()["id"])
    return "", 204


@blueprint.get("/api/conversation/messages")
def news() -> ResponseReturnValue:
    """Return the state, and the messages after `after`."""
    after = whole_number("after")
    found = conversation()
    return jsonify(
        state=found["state"],
        messages=conversations.messages(site().database, found["id"], after),
    )


@blueprint.post("/api/conversation/person")
def ask_for_a_person() -> ResponseReturnValue:
    """Have a person take over; until one does, questions wait for them."""
    found = conversation()
    limit(f"person:{found['id']}", 10, 3600)
    if found["state"] == BOT:
        conversations.change_state(site().database, found["id"], WAITING)
    return "", 204


@blueprint.delete("/api/conversation/person")
def back_to_the_bot() -> ResponseReturnValue:
    """Have the knowledge base answer again."""
    conversations.change_state(site().database, conversation()["id"], BOT)
    return "", 204


@blueprint.get("/api/search")
def search() -> ResponseReturnValue:
    """Return the articles that speak of `q`."""
    limit(f"search:{origin(request.remote_addr)}", 3 * site().web.question_limit, 60)
    found = knowledge.find(site().database, text(request.args.get("q", ""), LONGEST_QUESTION), 10)
    return jsonify(articles=[{"id": a.id, "title": a.title, "body": a.body} for a in found])


@blueprint.post("/api/conversation/messages")
def ask() -> ResponseReturnValue:
    """Take a question and answer it: as JSON, or piece by piece as events (text/event-stream)."""
    found = conversation()
    given = request.get_json(silent=True)
    asked = given.get("text") if isinstance(given, dict) else None
    if not isinstance(asked, str) or not (question := text(asked, LONGEST_QUESTION, lines=True)):
        abort(400, description='the body is JSON such as {"text": "a question"}')
    visitor, web = origin(request.remote_addr), site().web
    limit(f"question:{visitor}", web.question_limit, 60)
    limit(f"asked:{found['id']}", web.question_limit, 60)
    if "text/event-stream" not in request.headers.get("Accept", ""):
        return jsonify(_answer(found, question))
    stream = Response(
        _events(_answer(found, question), web.stream_seconds), content_type="text/event-stream"
    )
    stream.headers["Cache-Control"] = "no-store"
    # nginx sends each piece at once then.
    stream.headers["X-Accel-Buffering"] = "no"
    return stream


def _answer(found: Row, question: str) -> dict[str, Any]:
    database = site().database
    try:
        number, state = conversations.ask(database, found["id"], question)
        if state != BOT:
            return {"question": number, "state": state}
        nothing = _("I have found no answer to that. You can ask for a person to take over.")
        articles = knowledge.find(database, question)
        reply, body, sources = conversations.reply(database, found["id"], number, articles, nothing)
    except conversations.Full:
        raise Conflict("the conversation is full: begin another one") from None
    except LookupError:
        raise NotFound from None
    message = {"id": reply, "author": "bot", "body": body, "sources": sources}
    return {"question": number, "state": state, "answer": message}


def _event(name: str, content: object) -> str:
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"


def _events(answer: dict[str, Any], seconds: int) -> Iterator[str]:
    """Yield an answer in pieces. A reader who is too slow gets the rest when it asks again."""
    end = time.monotonic() + seconds
    message = answer.get("answer")
    yield _event("begin", {key: answer[key] for key in ("question", "state")})
    if message:
        body: str = message["body"]
        for start in range(0, len(body), _PIECE):
            if time.monotonic() > end:
                return
            yield _event("piece", body[start : start + _PIECE])
        yield _event("message", message)
    yield _event("end", {})

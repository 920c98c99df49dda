"""The administration: articles, imports, questions, conversations and jobs."""

import json
import time
from collections.abc import Iterator

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chatbot import conversations, documents, jobs, knowledge
from chatbot.chat import whole_number
from chatbot.conversations import BOT
from chatbot.db import Row
from chatbot.knowledge import LONGEST_BODY, LONGEST_TITLE
from chatbot.site import administrator, site
from chatbot.texts import text
from moorage.panel.text import gettext as _

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
_HIGHEST = 2**63 - 1


@blueprint.before_request
def _nobody_else() -> None:
    administrator()


@blueprint.url_value_preprocessor
def _small_numbers(_endpoint: str | None, values: dict[str, object] | None) -> None:
    # Larger ones are in no table, and PostgreSQL would take them for an error.
    if any(isinstance(value, int) and value > _HIGHEST for value in (values or {}).values()):
        abort(404)


@blueprint.get("/")
def dashboard() -> ResponseReturnValue:
    """Show who waits, what found no answer, failed jobs and the last days."""
    database = site().database
    return render_template(
        "admin.html",
        open=database.rows(
            "SELECT * FROM conversations WHERE state <> 'bot'"
            " ORDER BY state DESC, last_at LIMIT 100"
        ),
        recent=database.rows("SELECT * FROM conversations ORDER BY last_at DESC LIMIT 20"),
        unanswered=conversations.unanswered(database),
        status=jobs.status(database),
        failed=database.rows(
            "SELECT * FROM jobs WHERE state = 'failed' ORDER BY ended_at DESC LIMIT 100"
        ),
        reports=database.rows("SELECT * FROM reports ORDER BY day DESC LIMIT 14"),
    )


@blueprint.get("/articles")
def articles() -> ResponseReturnValue:
    """List articles, and what was imported."""
    database = site().database
    return render_template(
        "articles.html",
        articles=knowledge.shown(database, whole_number("after")),
        documents=database.rows(
            "SELECT d.id, d.name, d.added, d.changed, d.created_at, j.state, j.error"
            " FROM documents d LEFT JOIN jobs j ON j.key = 'import:' || d.id"
            " ORDER BY d.id DESC LIMIT 10"
        ),
        most=documents.MOST_BYTES,
    )


def _form() -> tuple[str, str]:
    title = text(request.form.get("title", ""), LONGEST_TITLE)
    body = text(request.form.get("body", ""), LONGEST_BODY, lines=True)
    if not title or not body:
        abort(422, description=_("An article has a title and a text."))
    return title, body


@blueprint.get("/articles/new")
def new_article() -> ResponseReturnValue:
    """Show the form; its title may be a question that found no answer."""
    title = text(request.args.get("title", ""), LONGEST_TITLE)
    return render_template("article.html", article=None, title=title, versions=[])


@blueprint.post("/articles")
def add_article() -> ResponseReturnValue:
    """Make an article."""
    title, body = _form()
    with site().database.transaction() as connection:
        number = knowledge.add(connection, title, body, administrator()["name"])
    return redirect(url_for("admin.article", number=number), 303)


@blueprint.get("/articles/<int:number>")
def article(number: int) -> ResponseReturnValue:
    """Show an article with its versions."""
    found = knowledge.article(site().database, number)
    if found is None:
        abort(404)
    versions = knowledge.versions(site().database, number)
    return render_template("article.html", article=found, title=found["title"], versions=versions)


@blueprint.post("/articles/<int:number>")
def edit_article(number: int) -> ResponseReturnValue:
    """Add a version; 409 when another one was added meanwhile."""
    title, body = _form()
    base = request.form.get("base", "")
    if not base.isascii() or not base.isdigit():
        abort(400)
    name = administrator()["name"]
    try:
        with site().database.transaction() as connection:
            knowledge.edit(connection, number, title, body, name, base=int(base))
    except knowledge.Conflict:
        abort(409, description=_("Somebody else has changed the article meanwhile."))
    except LookupError:
        abort(404)
    return redirect(url_for("admin.article", number=number), 303)


@blueprint.post("/articles/<int:number>/revert/<int:version>")
def revert_article(number: int, version: int) -> ResponseReturnValue:
    """Go back to a version, by adding it once more."""
    try:
        with site().database.transaction() as connection:
            knowledge.revert(connection, number, version, administrator()["name"])
    except LookupError:
        abort(404)
    return redirect(url_for("admin.article", number=number), 303)


@blueprint.post("/articles/<int:number>/shown")
def show_article(number: int) -> ResponseReturnValue:
    """Have an article answer, or not (`shown`)."""
    try:
        with site().database.transaction() as connection:
            knowledge.publish(connection, number, shown=request.form.get("shown") == "1")
    except LookupError:
        abort(404)
    return redirect(url_for("admin.article", number=number), 303)


@blueprint.post("/import")
def take_in() -> ResponseReturnValue:
    """Keep a document and have a worker make articles of it."""
    file = request.files.get("document")
    name = text((file.filename if file else "") or "", 200)
    try:
        kind, content = documents.read(name, file.read(documents.MOST_BYTES + 1) if file else b"")
    except documents.Refused as error:
        flash(str(error), "error")
        return redirect(url_for("admin.articles"), 303)
    with site().database.transaction() as connection:
        number = connection.value(
            "INSERT INTO documents (name, kind, content, author, created_at)"
            " VALUES (%s, %s, %s, %s, %s) RETURNING id",
            [name, kind, content, administrator()["name"], time.time()],
        )
        jobs.enqueue(connection, f"import:{number}", "import", document=number)
    flash(_("The document is being taken in."), "success")
    return redirect(url_for("admin.articles"), 303)


@blueprint.post("/unanswered/<int:message>/resolve")
def resolve(message: int) -> ResponseReturnValue:
    """Take a question off the list."""
    if not conversations.resolve(site().database, message):
        abort(404)
    return redirect(url_for("admin.dashboard"), 303)


def _conversation(number: int) -> Row:
    found = site().database.row("SELECT * FROM conversations WHERE id = %s", [number])
    if found is None:
        abort(404)
    return found


@blueprint.get("/conversations/<int:number>")
def conversation(number: int) -> ResponseReturnValue:
    """Show a conversation and the form for a person's answer."""
    found = _conversation(number)
    messages = conversations.messages(site().database, number)
    return render_template("conversation.html", conversation=found, messages=messages)


@blueprint.post("/conversations/<int:number>/messages")
def answer(number: int) -> ResponseReturnValue:
    """Answer in person."""
    body = text(request.form.get("body", ""), 4000, lines=True)
    if not body:
        abort(422, description=_("An answer has a text."))
    try:
        conversations.answer_in_person(site().database, number, body)
    except LookupError:
        abort(404)
    return redirect(url_for("admin.conversation", number=number), 303)


@blueprint.post("/conversations/<int:number>/bot")
def give_back(number: int) -> ResponseReturnValue:
    """Have the knowledge base answer again."""
    conversations.change_state(site().database, _conversation(number)["id"], BOT)
    return redirect(url_for("admin.dashboard"), 303)


@blueprint.post("/conversations/<int:number>/erase")
def erase(number: int) -> ResponseReturnValue:
    """Delete a conversation."""
    conversations.erase(site().database, _conversation(number)["id"])
    return redirect(url_for("admin.dashboard"), 303)


@blueprint.get("/conversations.jsonl")
def export() -> ResponseReturnValue:
    """Send all conversations, one a line. When the time is up the last line says where to go on."""
    after = whole_number("after")
    database = site().database
    end = time.monotonic() + site().web.stream_seconds

    def lines() -> Iterator[str]:
        for found in conversations.export_all(database, after):
            yield json.dumps(found, ensure_ascii=False) + "\n"
            if time.monotonic() > end:
                yield json.dumps({"next": found["id"]}) + "\n"
                return

    sent = Response(lines(), content_type="application/x-ndjson")
    sent.headers["Content-Disposition"] = 'attachment; filename="conversations.jsonl"'
    sent.headers["Cache-Control"] = "no-store"
    return sent


@blueprint.post("/jobs/<path:key>/retry")
def retry(key: str) -> ResponseReturnValue:
    """Begin a failed job anew."""
    if not jobs.retry(site().database, key.replace("\0", "")):
        abort(404)
    flash(_("The job is queued again."), "success")
    return redirect(url_for("admin.dashboard"), 303)

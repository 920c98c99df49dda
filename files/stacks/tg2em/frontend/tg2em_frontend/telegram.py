"""Signing in to Telegram: the page's half of the dialogue that TelegramSignIn describes."""

import re

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from tg2em_core.models import SignInState, TelegramSignIn

from moorage.panel.text import gettext as _
from tg2em_frontend import auth, names
from tg2em_frontend.store import db

blueprint = Blueprint("telegram", __name__, url_prefix="/admin/telegram")
blueprint.before_request(auth.require)

_PHONE = re.compile(r"\+[0-9]{6,15}")
_HASH = re.compile(r"[0-9a-fA-F]{32}")


@blueprint.get("")
def show() -> str:
    """Show where the sign-in stands and the form for its next step."""
    row = _row()
    return render_template("admin/telegram.html", sign_in=row, word=names.SIGN_IN[row.state])


@blueprint.get("/status")
def status() -> Response:
    """Return the state, for the page to notice that the scraper has answered."""
    row = _row()
    return jsonify(state=row.state.value, message=str(names.SIGN_IN[row.state]), error=row.error)


@blueprint.post("")
def step() -> ResponseReturnValue:
    """Take the values of one step and leave the next to the scraper."""
    steps = {"begin": _begin, "code": _code, "password": _password, "out": _out}
    chosen = steps.get(request.form.get("step", ""))
    row = _row()
    problem = chosen(row) if chosen else _("Unknown step.")
    if problem:
        flash(problem, "error")
        db().rollback()
    else:
        row.error = ""
        db().merge(row)
        db().commit()
    return redirect(url_for("telegram.show"), 303)


def _begin(row: TelegramSignIn) -> str:
    phone = re.sub(r"[\s()-]", "", request.form.get("phone", ""))
    api_id, api_hash = request.form.get("api_id", "").strip(), request.form.get("api_hash", "")
    api_hash = api_hash.strip() or row.api_hash
    if not api_id.isascii() or not api_id.isdigit() or not 0 < int(api_id) < 2**31:
        return _("api_id is a number.")
    if not _HASH.fullmatch(api_hash):
        return _("api_hash has 32 hexadecimal digits.")
    if not _PHONE.fullmatch(phone):
        return _("The phone number begins with + and the country's code.")
    row.api_id, row.api_hash, row.phone = int(api_id), api_hash, phone
    row.code = row.password = row.phone_code_hash = row.account = ""
    row.state = SignInState.REQUESTED
    return ""


def _code(row: TelegramSignIn) -> str:
    code = re.sub(r"[\s-]", "", request.form.get("code", ""))
    if row.state is not SignInState.CODE_NEEDED:
        return _("No code is awaited.")
    if not code.isascii() or not code.isdigit() or not 4 <= len(code) <= 8:
        return _("The code has four to eight digits.")
    row.code, row.state = code, SignInState.CODE_GIVEN
    return ""


def _password(row: TelegramSignIn) -> str:
    password = request.form.get("password", "")
    if row.state is not SignInState.PASSWORD_NEEDED:
        return _("No password is awaited.")
    if not password or len(password) > 255:
        return _("The password is missing.")
    row.password, row.state = password, SignInState.PASSWORD_GIVEN
    return ""


def _out(row: TelegramSignIn) -> str:
    row.code = row.password = row.phone_code_hash = row.account = ""
    row.state = SignInState.SIGNED_OUT
    return ""


def _row() -> TelegramSignIn:
    found = db().get(TelegramSignIn, 1)
    if found is not None:
        return found
    return TelegramSignIn(
        id=1, state=SignInState.SIGNED_OUT, api_id=0, api_hash="", phone="", phone_code_hash="",
        code="", password="", account="", error="",
    )  # fmt: skip

"""The administration: how the jobs do, and whether mail goes out."""

import secrets

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from moorage.panel.text import gettext as _
from taifish import jobs, mail
from taifish.site import administrator, site

blueprint = Blueprint("admin", __name__)


@blueprint.get("/admin")
def dashboard() -> ResponseReturnValue:
    """Show figures, failed jobs and the last digests."""
    administrator()
    database = site().database
    return render_template(
        "admin.html",
        status=jobs.status(database, site().config, site().queue),
        failed=database.rows(
            "SELECT * FROM jobs WHERE state = 'failed' ORDER BY ended_at DESC LIMIT 100"
        ),
        tests=database.rows(
            "SELECT * FROM jobs WHERE kind = 'mail-test' ORDER BY created_at DESC LIMIT 3"
        ),
        digests=database.rows("SELECT * FROM digests ORDER BY day DESC LIMIT 7"),
        smtp=site().config.smtp_host,
    )


@blueprint.post("/admin/jobs/<path:key>/retry")
def retry(key: str) -> ResponseReturnValue:
    """Begin a failed job anew."""
    administrator()
    if not jobs.retry(site().database, site().queue, key.replace("\0", "")):
        abort(404)
    flash(_("The job is queued again."), "success")
    return redirect(url_for("admin.dashboard"), 303)


@blueprint.post("/admin/mail-test")
def mail_test() -> ResponseReturnValue:
    """Have a mail sent, the way all others go."""
    administrator()
    to = mail.address(request.form.get("to", ""))
    if not to:
        flash(_("This is no mail address."), "error")
        return redirect(url_for("admin.dashboard"), 303)
    key = f"mail-test:{secrets.token_hex(6)}"
    with site().database.transaction() as connection:
        jobs.enqueue(connection, key, "mail-test", to=to)
    jobs.publish(site().database, site().queue, [key])
    flash(_("The mail is queued; its outcome appears below."), "success")
    return redirect(url_for("admin.dashboard"), 303)

"""/health for those who route requests here, /health/live for the one who would restart us."""

import time

from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError
from tg2em_core.db import ping

from tg2em_frontend.store import store

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> tuple[Response, int]:
    """Return 200 while the database answers, else 503."""
    begun = time.perf_counter()
    try:
        ping(store().engine)
    except SQLAlchemyError:
        return jsonify(status="failing", database="unreachable"), 503
    store().seen = True
    spent = round((time.perf_counter() - begun) * 1000, 2)
    return jsonify(status="ok", database="ok", database_milliseconds=spent), 200


@blueprint.get("/health/live")
def live() -> tuple[Response, int]:
    """Return 200 once the database has answered for the first time, whatever it does later.

    A new release that cannot reach its database must not pass for healthy; one that could, must
    not be restarted because the database is away, as that mends nothing.
    """
    if store().seen:
        return jsonify(status="ok"), 200
    return health()

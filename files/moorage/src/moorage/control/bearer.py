"""The control API for those alone who show a token: anybody may connect by TCP (RFC 6750)."""

import hmac
from collections.abc import Mapping

from moorage.control.contract import ControlError
from moorage.control.serving import Application, Job
from moorage.control.wire import Refused, Request

SHORTEST_TOKEN = 20


class Bearer:
    """Asks for the token before anything else."""

    def __init__(self, application: Application, token: str) -> None:
        """Let those ask ``application`` who know ``token``."""
        self._application = application
        self._token = token.encode()

    def resolve(self, request: Request) -> Job:
        """Return what the request asks for; 401 without the token."""
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode("latin-1"), self._token)
        if scheme.lower() != "bearer" or not right:
            raise Refused(
                "unauthorized",
                "this is answered with `Authorization: Bearer TOKEN`",
                status=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        return self._application.resolve(request)

    def answered(
        self,
        peer: Mapping[str, int | str],
        request: Request | None,
        status: int,
        error: ControlError | None,
    ) -> None:
        """Hand on what became of a request."""
        self._application.answered(peer, request, status, error)

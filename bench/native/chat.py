"""Visitors of chatbot who ask one question after another, each when the last one was answered."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.host import BenchError

_THINGS = ("refund", "parcel", "invoice", "password", "address", "gift", "warranty", "discount")
# Of one conversation: 400 messages, answers among them, is all that one may have.
_QUESTIONS = 150


class Chat:
    """The API at an address; by default with a knowledge base that has an answer."""

    def __init__(self, address: str, port: int, *, knows: bool = True) -> None:
        self._address, self._port, self._knows = address, port, knows

    def ask(self, questions: int, visitors: int = 4) -> float:
        """Ask so many questions and return how long that took in seconds."""
        began = time.monotonic()
        self._visit([questions // visitors] * visitors, float("inf"))
        return time.monotonic() - began

    def answers_per_second(self, seconds: float, visitors: int = 8) -> float:
        """Return how many answers a few visitors get together."""
        until = time.monotonic() + seconds
        return sum(self._visit([10**9] * visitors, until)) / seconds

    def _visit(self, questions: list[int], until: float) -> list[int]:
        with ThreadPoolExecutor(len(questions)) as pool:
            return list(pool.map(lambda most: self._converse(most, until), questions))

    def _converse(self, most: int, until: float) -> int:
        token = ""
        for number in itertools.count():
            if number == most or time.monotonic() > until:
                return number
            if number % _QUESTIONS == 0:
                token = self._call(201, "/api/conversations")["token"]
            thing = _THINGS[number % len(_THINGS)]
            text = {"text": f"What about my {thing}?"}
            said = self._call(200, "/api/conversation/messages", token, text)
            if self._knows != (thing in said["answer"]["body"]):
                raise BenchError(f"not the answer to a question about the {thing}: {said}")
        return 0

    def _call(self, status: int, path: str, token: str = "", body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._address, self._port, timeout=30)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        try:
            connection.request("POST", path, json.dumps(body or {}), headers)
            answer = connection.getresponse()
            said = answer.read()
        except OSError as trouble:
            raise BenchError(f"{path} at {self._address}:{self._port}: {trouble}") from None
        finally:
            connection.close()
        if answer.status != status:
            raise BenchError(f"{path}: {answer.status} {said[:200]!r}")
        found: dict[str, Any] = json.loads(said)
        return found

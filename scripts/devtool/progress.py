"""How far a deployment to a bare host is, and about how much longer it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What a deployment does for a while.

    ``ends`` is part of the line of Ansible's output that comes when it is done, ``seconds`` about
    what it takes on two free cores: how the stages share the time is what matters.
    """

    title: str
    ends: str
    seconds: float


STAGES = (
    Stage("packages of the host", "TASK [host : Ensure the host's packages", 14),
    Stage("the Docker engine", "TASK [docker : Ensure the engine runs", 14),
    Stage("the image of Debian itself", "base: built", 14),
    Stage("the images of nginx and MariaDB", "TASK [images : Ensure the images", 12),
    Stage("the edge, which visitors reach", "TASK [edge : Ensure the edge runs", 6),
    Stage("the images of the application", "TASK [Bring release", 28),
    Stage("the start of the services", "PLAY RECAP", 14),
)


class Progress:
    """Says with which step it begins, by the lines that it is shown."""

    def __init__(
        self,
        tell: Callable[[str], None],
        stages: Sequence[Stage] = STAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._stages = stages
        self._clock = clock
        self._began = clock()
        self._done = 0
        self._say()

    def see(self, line: str) -> None:
        """Look at a line of output that was just shown."""
        # One that was there already is passed over: the next that ends tells.
        for number in range(self._done, len(self._stages)):
            if self._stages[number].ends in line:
                self._done = number + 1
                self._say()
                return

    def _say(self) -> None:
        if self._done < len(self._stages):
            title = self._stages[self._done].title
            self._tell(f"==> step {self._done + 1} of {len(self._stages)}: {title}; {self._left()}")

    def _left(self) -> str:
        """Say how long the rest takes where this goes on as it went."""
        usual = sum(stage.seconds for stage in self._stages[: self._done])
        pace = (self._clock() - self._began) / usual if usual else 1.0
        seconds = pace * sum(stage.seconds for stage in self._stages[self._done :])
        minutes = round(seconds / 60)
        many = f"about {minutes} minutes" if minutes > 1 else "about a minute"
        where = "" if usual else ", more on a machine that is busy"
        return (many if seconds > 45 else "less than a minute") + f" left{where}"

"""The last day of a service as two lines, drawn by the server: the page keeps five minutes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moorage.control import ControlBackend, ControlError
from moorage.control.contract import history_of

SECONDS = 86_400
# Parts of five minutes, of which the most is drawn: what happened in one minute is seen.
PARTS = 288
_HEIGHT, _TOP = 29.0, 27.0


@dataclass(frozen=True)
class Line:
    """A line in a picture of 100 by 30, and the most that it shows."""

    path: str
    most: float


def day(backend: ControlBackend, name: str, now: float) -> dict[str, Line]:
    """Return the lines `cpu` and `memory`, nothing where there are no samples."""
    try:
        found = history_of(backend, name)
    except ControlError:
        return {}
    found = [sample for sample in found if now - SECONDS < sample.at <= now]
    if not found:
        return {}
    return {
        "cpu": _line([(s.at, s.cpu_percent) for s in found], now, least=5.0),
        "memory": _line([(s.at, float(s.memory_bytes)) for s in found], now, least=1.0),
    }


def _line(points: Sequence[tuple[float, float]], now: float, *, least: float) -> Line:
    parts: dict[int, float] = {}
    for at, value in points:
        number = int((at - now + SECONDS) / SECONDS * PARTS)
        parts[number] = max(parts.get(number, 0.0), value)
    most = max(parts.values())
    return Line("".join(_steps(parts, max(most * 1.1, least))), most)


def _steps(parts: dict[int, float], top: float) -> Iterator[str]:
    """Yield the steps of a path; it begins anew where nothing ran."""
    before = -2
    for number, value in sorted(parts.items()):
        x, y = number * 100 / PARTS, _HEIGHT - value / top * _TOP
        # A lone one is as long as the part that it stands for.
        yield f"{'L' if number == before + 1 else 'M'}{x:.2f},{y:.2f}h{100 / PARTS:.2f}"
        before = number

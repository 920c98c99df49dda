"""Rollouts that nobody has thought of, on a host in memory: any releases, cut off or refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

if TYPE_CHECKING:
    from files.moorage.tests.deploy.world import FakeRig, Refusal
else:
    from world import FakeRig, Refusal


@dataclass(frozen=True)
class Policy:
    """How replicas follow each other."""

    parallelism: int
    order: str
    failure_action: str
    max_failure_ratio: float


@dataclass(frozen=True)
class Spec:
    """A release: what it consists of, and which part of it is bad.

    ``alone``: its site is replaced in its place, or must not run twice. ``images`` are those of
    the site, the database and the workers.
    """

    unified: bool
    alone: bool
    replicas: int
    policy: Policy
    images: tuple[str, str, str]
    parts: frozenset[str]
    bad: str = ""
    script: str = "crash"

    @property
    def is_bad(self) -> bool:
        """Whether the bad part is there."""
        return self.bad in {"web", *self.parts}

    @property
    def form(self) -> tuple[bool, int, bool]:
        """What the site is made of: of another form one gives its place to the other."""
        return self.unified, self.replicas, self.alone

    @property
    def patient(self) -> set[str]:
        """The pools whose visitors may have to wait."""
        policy = self.policy
        all_at_once = not policy.parallelism or policy.parallelism >= self.replicas
        if policy.order == "stop-first" and (all_at_once or self.unified):
            # A process goes with its container.
            return {"web:80", "api:80"} if self.unified else {"web:80"}
        return {"web:80"} if self.alone else set()


@dataclass(frozen=True)
class Step:
    """A rollout: after how many steps it is cut off, or what refuses; and whether a boot follows.

    ``refusal`` is a `Refusal`'s fields: each rollout has its own.
    """

    spec: Spec
    cut: int | None
    refusal: tuple[int, bool, bool] | None
    reboot: bool


_PARTS = ("api", "db", "migrate", "worker", "cron", "job")
_POLICIES = some.builds(
    Policy,
    parallelism=some.integers(0, 2),
    order=some.sampled_from(["start-first", "stop-first"]),
    failure_action=some.sampled_from(["rollback", "rollback", "pause", "continue"]),
    max_failure_ratio=some.sampled_from([0.0, 0.5]),
)
_GOOD: dict[str, Any] = {
    "unified": some.booleans(),
    "alone": some.sampled_from([False, False, True]),
    "replicas": some.sampled_from([1, 1, 2, 3]),
    "policy": _POLICIES,
    "images": some.tuples(*[some.sampled_from("12")] * 3),
    "parts": some.frozensets(some.sampled_from(_PARTS)),
}
_BAD = {
    # What starts on demand is not started.
    "bad": some.sampled_from(["", "", "web", *_PARTS[:-1]]),
    "script": some.sampled_from(["crash", "sick"]),
}
_STEPS = some.integers(0, 24)
_DISTURBED = some.one_of(
    some.just((None, None)),
    some.tuples(_STEPS, some.none()),
    some.tuples(some.none(), some.tuples(_STEPS, some.booleans(), some.booleans())),
)
_ROLLOUTS = some.builds(
    lambda spec, trouble, reboot: Step(spec, trouble[0], trouble[1], reboot),
    some.builds(Spec, **_GOOD, **_BAD),
    _DISTURBED,
    some.sampled_from([False, False, True]),
)


@given(some.lists(_ROLLOUTS, min_size=1, max_size=3), some.builds(Spec, **_GOOD))
@settings(
    derandomize=True,
    max_examples=80,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_happened_the_next_good_release_runs(
    tmp_path_factory: pytest.TempPathFactory, tale: list[Step], last: Spec
) -> None:
    directory = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moorage.deploy.receipt.DEFAULT_LOG", directory / "log")
        # Nothing here has to outlive a power cut.
        patch.setattr("os.fsync", lambda fd: None)
        (directory / "log" / "rollouts").mkdir(parents=True)
        try:
            Story(directory, tale, last).tell()
        finally:
            shutil.rmtree(directory)


class Story:
    """Rollouts of one stack, one after the other, and what has to be true after each of them."""

    def __init__(self, directory: Path, tale: list[Step], last: Spec) -> None:
        self.tale, self.last = tale, last
        self.rig, self.fresh = FakeRig(directory / "rig"), FakeRig(directory / "fresh")
        self.fresh.ports = self.rig.ports
        # What was there when all was well.
        self.well: dict[str, str] = {}
        self.said: list[str] = []
        self.rig.world.patient = frozenset(self._patient())

    def tell(self) -> None:
        """Go through all of it."""
        for step in self.tale:
            self._disturbed(step)
        release = deploy(self.rig, self.last)
        outcome = self._run(self.last, release)
        first = self.fresh.run(deploy(self.fresh, self.last))
        self._check(outcome.ok and first.ok, "the last one is activated")
        self._check(self.rig.states() == self.fresh.states(), "it runs as described")
        one, other = self.rig.world.pools, self.fresh.world.pools
        self._check(sizes(one) == sizes(other), "as many serve")
        self._check(self.rig.run(release).outcome == "unchanged", "there is nothing left to do")

    def _disturbed(self, step: Step) -> None:
        world = self.rig.world
        world.refusal = Refusal(*step.refusal) if step.refusal else None
        outcome = self._run(step.spec, deploy(self.rig, step.spec), step.cut)
        refused, world.refusal = any("REFUSED" in line for line in self.said), None
        self._check(True, "nobody was let down")
        if outcome is not None and not refused:
            self._check(outcome.ok or step.spec.is_bad, "a good one is activated")
            stayed = not outcome.ok or outcome.did["behind"]
            self._check(stayed or not step.spec.is_bad, "a bad one is not")
        if outcome is not None and outcome.outcome == "restored" and self.well:
            self._check(lasting(self.rig.states()) == self.well, "all is as it was")
        well = outcome is not None and outcome.outcome in ("activated", "restored", "unchanged")
        self._check(not well or all(world.pools.values()), "everybody is served")
        self.well = lasting(self.rig.states()) if well else {}
        if step.reboot:
            self.rig.reboot()
            self._check(True, "nobody is let down after a boot")

    def _run(self, spec: Spec, release: str, cut: int | None = None) -> Any:
        outcome = self.rig.run(release, left=cut)
        self.said = [str(spec), *self.rig.steps_done(), str(outcome), str(self.rig.states())]
        return outcome

    def _check(self, condition: Any, what: str) -> None:
        wrong = self.rig.world.wrong
        assert condition and not wrong, "\n".join([f"not so: {what}", *self.said, *wrong])

    def _patient(self) -> Iterator[str]:
        specs = [*(step.spec for step in self.tale), self.last]
        visited = [self.rig.visited[deploy(self.rig, spec)] for spec in specs]
        # Whoever visits what only some of them have is lost by intent.
        yield from frozenset.union(*visited) - frozenset.intersection(*visited)
        for spec in specs:
            yield from spec.patient
        if len({spec.form for spec in specs}) > 1:
            yield "web:80"
        if len({spec.unified for spec in specs}) > 1:
            yield "api:80"


def sizes(pools: dict[str, list[str]]) -> dict[str, int]:
    """Return how many serve."""
    return {name: len(peers) for name, peers in pools.items()}


def lasting(states: dict[str, str]) -> dict[str, str]:
    """Return what is there but for one-offs: going back does not undo them."""
    return {name: state for name, state in states.items() if name != "migrate"}


def deploy(rig: FakeRig, spec: Spec) -> str:
    """Write the release that is described."""
    web, db, _ = spec.images
    services = []
    if "db" in spec.parts:
        services.append(rig.service("db", script(spec, "db"), rolled=False, image=db, data=True))
    if "migrate" in spec.parts:
        end = "fails" if spec.bad == "migrate" else "ends"
        services.append(rig.service("migrate", end, rolled=False, one_off=True, image=web))
    if "job" in spec.parts:
        services.append(rig.service("job", rolled=False, on_demand=True, image=spec.images[2]))
    return rig.deploy(*services, *(together(rig, spec) if spec.unified else apart(rig, spec)))


def together(rig: FakeRig, spec: Spec) -> list[dict[str, Any]]:
    """Describe the site and its workers as processes of one instance."""

    def process(name: str, single: bool) -> dict[str, Any]:
        command = ["crash" if spec.bad == name else "well"]
        return {"name": name, "command": command, **({"single": True} if single else {})}

    singles = [process(name, True) for name in ("worker", "cron") if name in spec.parts]
    rest = [process("api", False)] if "api" in spec.parts else []
    processes = [*singles, process("web", spec.alone), *rest]
    visited = ["web", *(["api"] if rest else [])]
    image = spec.images[0] + spec.images[2]
    return [rig.all_in_one(*processes, visited=visited, image=image, update=asdict(spec.policy))]


def apart(rig: FakeRig, spec: Spec) -> list[dict[str, Any]]:
    """Describe each of them as an instance of its own."""
    web, _, worker = spec.images
    found = [
        rig.service(name, script(spec, name), rolled=False, singleton=True, image=worker)
        for name in ("worker", "cron")
        if name in spec.parts
    ]
    for number in range(1, spec.replicas + 1):
        name = "web" if spec.replicas == 1 else f"web-{number}"
        facts = {"image": web, "replica": number, "update": asdict(spec.policy)}
        made = rig.web(name, script(spec, "web"), rolled=not spec.alone, **facts)
        found.append({**made, "facts": {**made["facts"], "service": "web"}})
    if "api" in spec.parts:
        found.append(rig.web("api", script(spec, "api"), image=worker))
    return found


def script(spec: Spec, part: str) -> str:
    """Return what a part runs."""
    return spec.script if spec.bad == part else "well"

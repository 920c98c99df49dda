"""openapi.yaml against both backends, with requests that schemathesis makes up from it.

It checks of each answer that status, media type, headers and content are what the document says,
that what the document allows is accepted, and that what it does not is refused.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from control_rig import ControlRig
from docker.transport import UnixHTTPAdapter
from gateway_rig import ENGINE, STACK, Stack, audit, serving
from hypothesis import HealthCheck, settings

import moorage.control
from moorage.control import ACTIONS
from moorage.control.contract import GROUP_ACTIONS, Event, ServiceStatus, State
from moorage.control.docker_backend import DockerBackend
from moorage.control.docker_events import EngineJournal
from moorage.control.engine import Engine
from moorage.control.membership import Membership
from moorage.control.process import ProcessBackend
from moorage.control.serving import Limits

OPENAPI = Path(moorage.control.__file__).with_name("openapi.yaml")
pytest_plugins = ["schemathesis.pytest.plugin"]
URL = "http://control.test"
SHORT = Limits(stream_seconds=1.0)
EFFORT = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


# What is too long is refused for that, whatever else is wrong with it.
REFUSED = ["400", "404", "405", "413", "414", "415", "431"]
CONFIG = schemathesis.Config.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}}
)


def contract(*services: str) -> Any:
    """Return the document, with names that exist for half of those that schemathesis invents."""
    schema: Any = schemathesis.openapi.from_path(OPENAPI, config=CONFIG)

    @schema.hook  # type: ignore[untyped-decorator]
    def map_path_parameters(_: Any, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        name = (parameters or {}).get("service")
        if isinstance(name, str) and len(name) % 2:
            return {"service": services[len(name) // 2 % len(services)]}
        return parameters

    return schema


def check(case: Any, client: requests.Session) -> None:
    """Make the request and look at the answer."""
    # A stream that is to last would: those are tried by tests of their own.
    if case.path.endswith("/follow") and _would_last(case.query or {}):
        case.query = {**(case.query or {}), "seconds": 0}
    case.call_and_validate(base_url=URL, session=client)


def _would_last(query: dict[str, Any]) -> bool:
    seconds = str(query.get("seconds", 300))
    return seconds.isdecimal() and 0 < int(seconds) <= 300


@pytest.fixture(scope="module")
def process_session(
    rig: ControlRig, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[requests.Session]:
    """A client of the API on a real supervisor."""
    directory = tmp_path_factory.mktemp("p")
    with serving(ProcessBackend(rig.socket), directory, limits=SHORT) as path:
        yield session(path)
    assert _done(directory) == set(ACTIONS)


@pytest.fixture(scope="module")
def docker_session(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[requests.Session]:
    """A client of the API on real containers."""
    directory = tmp_path_factory.mktemp("d")
    stack.add("web")
    stack.add("once", "exit 1", restart_policy={"Name": "no"})
    engine, membership = Engine(ENGINE), Membership(STACK, stack.release)
    journal = EngineJournal(engine, membership, STACK, str(directory / "events.jsonl"))
    journal.start()
    backend = DockerBackend(engine, membership, journal)
    with serving(backend, directory, limits=SHORT) as path:
        yield session(path)
    assert _done(directory) == set(ACTIONS)


def _done(directory: Path) -> set[str]:
    """The actions that succeeded: half of the names that were asked about exist."""
    return {line["action"] for line in audit(directory) if line["result"] == "done"}


def session(path: str) -> requests.Session:
    """Return a client whose requests go to a Unix socket."""
    made = requests.Session()
    made.trust_env = False
    made.mount(URL, UnixHTTPAdapter(f"http+unix://{path}"))
    return made


process_contract = contract("steady", "talker", "broken")
docker_contract = contract("web", "once")


@process_contract.parametrize()  # type: ignore[untyped-decorator]
@EFFORT
def test_processes_are_controlled_as_the_contract_says(
    case: Any, process_session: requests.Session
) -> None:
    check(case, process_session)


@docker_contract.parametrize()  # type: ignore[untyped-decorator]
@EFFORT
def test_containers_are_controlled_as_the_contract_says(
    case: Any, docker_session: requests.Session
) -> None:
    check(case, docker_session)


def test_the_document_has_the_fields_and_words_of_the_code() -> None:
    document = yaml.safe_load(OPENAPI.read_text())
    schemas = document["components"]["schemas"]
    for name, kind in (("Service", ServiceStatus), ("Event", Event)):
        fields = set(kind.__dataclass_fields__)
        assert set(schemas[name]["properties"]) == set(schemas[name]["required"]) == fields
    assert schemas["Service"]["properties"]["state"]["enum"] == [str(state) for state in State]
    paths = document["paths"]
    actions = {path for path, item in paths.items() if "post" in item}
    assert actions == {f"/v1/services/{{service}}/{action}" for action in ACTIONS} | {
        f"/v1/groups/{{group}}/{action}" for action in GROUP_ACTIONS
    }

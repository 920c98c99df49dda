"""Ships sources to a host for the images and environments that it lacks, follows their build."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_FILES = Path(__file__).resolve().parents[2] / "files"
if str(_FILES / "moorage" / "src") not in sys.path:
    sys.path.insert(0, str(_FILES / "moorage" / "src"))

from moorage.common.text import visible
from moorage.controller.credentials import check_modes, read_registries
from moorage.images import BuildSpec, ImageError, ImageMap, stack_spec
from moorage.images.builder import INSPECT_FORMAT, missing
from moorage.images.bundle import LIBRARY, pack
from moorage.images.pull import REGISTRIES
from moorage.release import names

_PYTHON = "/usr/bin/python3"
# The build goes on when the connection is lost, so it is worth trying again.
_RECONNECTS = 10
_RECONNECT_SECONDS = 3.0

_SPEC_OPTIONS = {
    "key": {"type": "str", "required": True},
    "name": {"type": "str"},
    "build": {"type": "dict", "required": True},
    "stack_dir": {"type": "path", "required": True},
}
_OPTIONS = {
    "stack": {"type": "str", "default": ""},
    "specs": {"type": "list", "elements": "dict", "default": [], "options": _SPEC_OPTIONS},
    "images_map": {"type": "dict", "default": {}},
    "images_dir": {"type": "path", "default": str(_FILES / "images")},
    "base_source": {
        "type": "str",
        "choices": ["bootstrap", "registry", "auto"],
        "default": "bootstrap",
    },
    "base_name": {"type": "str", "default": "debian:trixie-slim"},
    "refresh": {"type": "str", "default": ""},
    "pulls": {"type": "list", "elements": "dict", "default": []},
    # A path, and no secret.
    "credentials": {"type": "str", "default": ""},
    "mirrors": {"type": "dict", "default": {}},
    "pull_retries": {"type": "int", "default": 3},
    "pull_timeout_seconds": {"type": "int", "default": 1800},
    "ca_bundle": {"type": "path"},
    "pip_index_url": {"type": "str"},
}


class ActionModule(ActionBase):
    """The action of moorage_images; plugins/modules/moorage_images.py documents it."""

    # A temporary directory is made when there is something to ship, not for a question.
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Build what is missing and return what was built."""
        result = super().run(tmp, task_vars)
        self._host = (task_vars or {}).get("inventory_hostname", "")
        _, options = self.validate_argument_spec(argument_spec=_OPTIONS)
        try:
            images = ImageMap(
                Path(options["images_dir"]), options["images_map"], options["refresh"]
            )
            specs = {
                spec["key"]: stack_spec(
                    options["stack"],
                    spec["key"],
                    spec["build"],
                    Path(spec["stack_dir"]),
                    images,
                    spec["name"],
                )
                for spec in options["specs"]
            }
        except ImageError as error:
            raise AnsibleActionFail(str(error)) from error
        # Services may share one image; the map's come first, as the others start from them. No
        # environment does.
        alone = bool(specs) and all(spec.environment for spec in specs.values())
        bases = () if alone else images.specs
        wanted = {spec.ref: spec for spec in [*bases, *specs.values()]}
        lacking = self._lacking(options["stack"], list(wanted.values()))
        result |= {
            "changed": bool(lacking),
            "built": [{"ref": ref} for ref in lacking],
            "present": [ref for ref in wanted if ref not in lacking],
            "refs": {key: spec.ref for key, spec in specs.items()},
            "images": images.refs,
            "pulled": [],
        }
        if (lacking or options["pulls"]) and not self._task.check_mode:
            self._build([wanted[ref] for ref in lacking], options, result)
            # Another controller may have built them while this one waited for its turn.
            result["changed"] = bool(result["built"]) or any(p["new"] for p in result["pulled"])
        return result

    def _lacking(self, stack: str, specs: Sequence[BuildSpec]) -> list[str]:
        environments = [spec.ref for spec in specs if spec.environment]
        images = [spec for spec in specs if not spec.environment]
        return [*self._images(images), *self._environments(stack, environments)]

    def _environments(self, stack: str, refs: Sequence[str]) -> list[str]:
        """Return those that the host lacks: all, where it has no package of ours to say so."""
        if not refs:
            return []
        program = ["env", f"PYTHONPATH={names.LIBRARY}", _PYTHON, "-m", "moorage.images.host"]
        held = self._execute([*program, "held", stack, *refs])["stdout"].split()
        return [ref for ref in refs if ref not in held]

    def _images(self, specs: Sequence[BuildSpec]) -> list[str]:
        if not specs:
            return []
        wanted = [(spec.ref, spec.digest if spec.script else "") for spec in specs]
        argv = ["docker", "image", "inspect", "--format", INSPECT_FORMAT]
        done = self._execute([*argv, *(ref for ref, _ in wanted)])
        errors = [line for line in done["stderr"].splitlines() if "No such image" not in line]
        if done["rc"] != 0 and (errors or done["rc"] > 1) and not self._task.check_mode:
            raise AnsibleActionFail(
                "the host's images cannot be listed: is Docker installed (role docker) and "
                f"running (systemctl status docker)? It said: {' '.join(errors) or done['stdout']}"
            )
        return missing(wanted, done["stdout"])

    def _build(
        self, specs: Sequence[BuildSpec], options: dict[str, Any], result: dict[str, Any]
    ) -> None:
        registries = self._registries(options["credentials"])
        directory = self._make_tmp_path()
        try:
            self._ship(specs, options, directory)
            if registries:
                self._transfer_data(f"{directory}/{REGISTRIES}", json.dumps(registries))
            program = f"PYTHONPATH={shlex.quote(f'{directory}/{LIBRARY}')} {_PYTHON} -m "
            program = f"{self._compute_environment_string()} {program}moorage.images.host"
            self._checked(f"{program} start {shlex.quote(directory)}")
            self._follow(f"{program} follow {shlex.quote(directory)}", result)
        finally:
            self._remove_tmp_path(directory)

    def _ship(self, specs: Sequence[BuildSpec], options: dict[str, Any], directory: str) -> None:
        names = ("base_source", "base_name", "pip_index_url", "pulls", "mirrors")
        limits = {name: options[f"pull_{name}"] for name in ("retries", "timeout_seconds")}
        with tempfile.NamedTemporaryFile(suffix=".tar.gz") as bundle:
            pack(specs, bundle, {**{name: options[name] for name in names}, "limits": limits})
            bundle.flush()
            self._transfer_file(bundle.name, f"{directory}/bundle.tar.gz")
        if options["ca_bundle"]:
            if not Path(options["ca_bundle"]).is_file():
                raise AnsibleActionFail(
                    f"the certificate bundle {options['ca_bundle']} is not on this machine: "
                    "correct moorage_extra_ca_bundle"
                )
            self._transfer_file(options["ca_bundle"], f"{directory}/ca")
        where = shlex.quote(directory)
        unpack = f"tar -xzf {where}/bundle.tar.gz -C {where} --no-same-owner -p"
        self._checked(f"{unpack} && rm {where}/bundle.tar.gz")

    def _registries(self, file: str) -> dict[str, dict[str, str]]:
        """Return who signs in to which registry, from the operator's file."""
        if not file:
            return {}
        project = Path(__file__).resolve().parents[2]
        path = project / Path(file).expanduser()
        try:
            check_modes(path)
            # It may be encrypted by ansible-vault.
            return read_registries(Path(self._loader.get_real_file(str(path))), path)
        except ImageError as error:
            raise AnsibleActionFail(str(error)) from error

    def _follow(self, command: str, result: dict[str, Any]) -> None:
        offset = 0
        result["built"] = []
        while True:
            news = json.loads(self._patiently(f"{command} {offset}"))
            offset = news["offset"]
            for event in news["events"]:
                if event["event"] == "done":
                    if event["error"]:
                        raise AnsibleActionFail(visible(str(event["error"])))
                    return
                if event["event"] == "built":
                    told = {name: event[name] for name in ("ref", "seconds", "size")}
                    result["built"].append(told)
                if event["event"] in ("pulled", "there"):
                    told = {n: event[n] for n in ("ref", "image", "digest", "id", "new")}
                    result["pulled"].append(told)
                if event["event"] == "not-had":
                    told = {"ref": event["ref"], "image": "", "new": False}
                    result["pulled"].append(told)
                self._show(event)

    def _show(self, event: dict[str, Any]) -> None:
        about = event.get("ref", "images:").rpartition(":")[0].rpartition("/")[2]
        text = {
            "waiting": "waiting {text}",
            "building": "building {ref}",
            "pulling": "pulling {ref}",
            "pulled": "pulled in {seconds} s, {digest}",
            "there": "{ref} is there",
            "not-had": "made here instead: {text}",
            "built": "built in {seconds} s",
            "step": "{text}",
            "elsewhere": "another run: {text}",
        }[event["event"]].format(**event)
        Display().display(f"  [{self._host}] {about}: {visible(text)}"[:160])

    def _patiently(self, command: str) -> str:
        for _ in range(_RECONNECTS):
            try:
                return self._checked(command)
            except AnsibleConnectionFailure as error:
                Display().warning(f"the build goes on, but the connection is lost: {error}")
                time.sleep(_RECONNECT_SECONDS)
                self._connection.reset()
        return self._checked(command)

    def _checked(self, command: str) -> str:
        done = self._execute(command)
        if done["rc"] != 0:
            raise AnsibleActionFail(
                f"{command.split()[0]} failed: {done['stderr'] or done['stdout']}"
            )
        return str(done["stdout"])

    def _execute(self, command: str | list[str]) -> dict[str, Any]:
        if not isinstance(command, str):
            command = shlex.join(command)
        return dict(self._low_level_execute_command(command))

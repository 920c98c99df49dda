"""Brings release, secrets and images to a host, under a reservation of the stack."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from moorage.common.claim import claim, is_gone
from moorage.controller.project import Project, hash_files
from moorage.release.native import is_environment

_OPTIONS = {
    "plan": {"type": "dict", "required": True},
    "images": {"type": "dict", "required": True},
    "service": {"type": "str", "default": ""},
    "purpose": {"type": "str", "default": "update"},
    "lock_wait": {"type": "float", "default": 60},
    "break_lock": {"type": "bool", "default": False},
}
# Settings of images that pulling and building go by.
_SHARED = (
    "base_source", "base_name", "refresh", "credentials", "mirrors", "pull_retries",
    "pull_timeout_seconds",
)  # fmt: skip
# How long the host waits before this side looks again whether the holder is a dead run of its own.
_SLICE_SECONDS = 5.0

Result = dict[str, Any]


class ActionModule(ActionBase):
    """The action of moorage_prepare; plugins/modules/moorage_prepare.py documents it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Bring what is lacking and return what was done."""
        result: Result = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        self._host = self._vars.get("inventory_hostname", "")
        _, self._options = self.validate_argument_spec(argument_spec=_OPTIONS)
        self._plan: Mapping[str, Any] = self._options["plan"]
        self._pins: list[Mapping[str, Any]] = []
        written = self._release()
        if written.get("failed"):
            return {**result, **written}
        try:
            if (pulls := written["lacking"]["pulls"]) and not self._check:
                # Before anything is written: the release names what comes.
                self._pins = self._fetch(pulls=pulls)["pulled"]
                written = self._release(token=written["token"])
                if written.get("failed"):
                    return {**result, **written}
            secrets = self._secrets(written["lacking"]["secrets"])
            built = self._images(written["lacking"]["images"])
        except AnsibleActionFail:
            self._give_back(written["token"])
            raise
        notes = [*self._new_notes(), *written["notes"]]
        for note in notes:
            self._say(note)
        restart = _readers(self._plan["secrets"], [*written["stale_secrets"], *secrets["replaced"]])
        if restart and self._check:
            written = self._release(restart)
        return {
            **result,
            "stack": self._plan["name"],
            "changed": bool(
                written["changed"]
                or secrets["changed"]
                or built
                or any(entry["new"] for entry in self._pins)
                or (self._check and written["operations"])
            ),
            "release": written["release"],
            "token": written["token"],
            "restart": restart,
            "secrets": {key: secrets[key] for key in ("generated", "given", "replaced")},
            "operations": written["operations"],
            "notes": notes,
            "built": built,
            "pulled": self._pins,
            "diff": [*written["diff"], *self._summary(written, secrets)],
        }

    @property
    def _check(self) -> bool:
        return bool(self._task.check_mode)

    def _new_notes(self) -> list[str]:
        """Return what the description asks for in vain, unless the first host has told that."""
        notes: list[str] = self._plan["notes"]
        first = self._templar.template(self._vars.get("stack_hosts") or [self._host])[0]
        if first == self._host:
            return notes
        plan = self._vars["hostvars"][first].get("moorage_plan") or {}
        told = (p["notes"] for p in plan.get("stacks", ()) if p["name"] == self._plan["name"])
        return [note for note in notes if note not in next(told, [])]

    def _release(self, restart: Sequence[str] = (), token: str = "") -> Result:
        plan, options = self._plan, self._options
        what = f"{options['purpose']} to release {plan['release']}"
        if options["service"]:
            what = f"{options['purpose']} of {options['service']}"
        version = plan["manifest"].get("version")
        args = {
            **{
                key: plan[key]
                for key in (
                    "base",
                    "release",
                    "files",
                    "manifest",
                    "directories",
                    "encrypted",
                    "packages",
                )
            },
            "secrets": [{"name": s["name"], "users": s["users"]} for s in plan["secrets"]],
            "service": options["service"],
            "scaling": plan["scaling"],
            "restart": list(restart),
            "pulls": plan["pulls"],
            "pins": self._pins,
            "token": token,
            "runtime": self._runtime(),
            "claim": claim(f"{what} ({version})" if version else what, os.getppid()),
            "break_lock": options["break_lock"],
        }
        done = self._module("moorage_release", args)
        deadline = time.monotonic() + options["lock_wait"]
        told = False
        while done.get("failed") and "holder" in done:
            token = done["holder"]["token"] if is_gone(done["holder"]) else ""
            left = deadline - time.monotonic()
            if not token and left <= 0:
                break
            if token:
                self._say("takes over from a run of this controller that died")
            elif not told:
                self._say(f"waits: {done['msg']}")
                told = True
            wait = 0.0 if token else min(left, _SLICE_SECONDS)
            done = self._module("moorage_release", {**args, "instead_of": token, "lock_wait": wait})
        done.pop("holder", None)
        return done

    def _runtime(self) -> str:
        files = Project(Path(__file__).resolve().parents[2]).runtime_files()
        return hash_files(sorted(files.items()))

    def _secrets(self, lacking: list[str]) -> Result:
        given = self._vars.get(f"{self._plan['prefix']}_secrets")
        if not lacking and not given:
            return {"changed": False, "generated": [], "given": [], "replaced": []}
        # Values go from here to the module and nowhere else; what it returns holds none.
        args = {
            "directory": f"{self._plan['base']}/secrets",
            "secrets": self._plan["secrets"],
            "values": self._templar.template(given or {}),
        }
        done = self._module("moorage_secrets", args)
        if done.get("failed"):
            raise AnsibleActionFail(str(done.get("msg", "the secrets could not be written")))
        if done["generated"]:
            names = ", ".join(done["generated"])
            self._say(f"generated secrets: {names} (on the host, in {self._plan['base']}/secrets)")
        return done

    def _images(self, lacking: list[str]) -> list[dict[str, Any]]:
        # Environments and what is made here; what was pulled is there.
        return list(self._fetch(specs=self._plan["builds"])["built"]) if lacking else []

    def _fetch(self, **what: Any) -> Result:
        """Have the host build or pull."""
        images = self._options["images"]
        project = Path(__file__).resolve().parents[2]
        files = self._templar.template(self._vars.get("moorage_files_dir") or f"{project}/files")
        args = {
            "stack": self._plan["name"],
            "images_dir": f"{files}/images",
            **({"images_map": images["map"]} if "specs" in what else {}),
            **{key: images[key] for key in _SHARED},
            **what,
            **self._optional("ca_bundle", "moorage_extra_ca_bundle"),
            **self._optional("pip_index_url", "moorage_pip_index_url"),
        }
        task = self._task.copy()
        task.args = args
        action = self._shared_loader_obj.action_loader.get(
            "moorage_images",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        done: Result = action.run(task_vars=self._vars)
        return done

    def _optional(self, option: str, variable: str) -> dict[str, Any]:
        value = self._templar.template(self._vars.get(variable) or "")
        return {option: value} if value else {}

    def _give_back(self, token: str) -> None:
        if token:
            self._module("moorage_lock", {"stack": self._plan["name"], "token": token})

    def _summary(self, written: Result, secrets: Result) -> list[dict[str, str]]:
        lines = [
            *(
                f"{'environment' if is_environment(ref) else 'image'} to build: {ref}"
                for ref in written["lacking"]["images"]
                if ref not in {p["instead"] or p["ref"] for p in written["lacking"]["pulls"]}
            ),
            *(f"image to pull: {pull['ref']}" for pull in written["lacking"]["pulls"]),
            *(f"secret to make: {name}" for name in secrets["generated"]),
            *(f"secret to write: {name}" for name in secrets["given"]),
            *(f"secret to replace: {name}" for name in secrets["replaced"]),
        ]
        lines += written["operations"]
        return [{"prepared": "\n".join(lines) + "\n"}] if lines else []

    def _module(self, name: str, args: Mapping[str, Any]) -> Result:
        done: Result = self._execute_module(
            module_name=name, module_args=dict(args), task_vars=self._vars
        )
        return done

    def _say(self, text: str) -> None:
        Display().display(f"  [{self._host}] {self._plan['name']}: {text}")


def _readers(secrets: list[Mapping[str, Any]], replaced: list[str]) -> list[str]:
    return sorted({name for s in secrets if s["name"] in replaced for name in s["services"]})

#!/usr/bin/python
"""Write the files of a release as one immutable directory, and say what it still lacks."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: moorage_release
short_description: Write the files of a release as one immutable directory
description:
  - Reserves the stack (when there is an O(claim)), writes O(files) to
    O(base)/C(releases)/O(release) as a whole, and looks for the images and secrets that the release
    needs. The directory appears complete or not at all.
  - A release is named by the hash of its content, so one that is already there is left as it is.
  - With O(service) the release that is written is the running one with that service's part of the
    planned one.
  - Nothing that runs is touched. With C(--diff) the files are compared with those of the release
    that is running now.
options:
  base:
    description: Directory of the stack, such as C(/opt/tg2em).
    type: path
    required: true
  release:
    description: Id of the release, the first twelve hexadecimal digits of its content's hash.
    type: str
    required: true
  files:
    description: Content and mode of every file, by its path in the release.
    type: dict
    required: true
  manifest:
    description: What is written to C(release.json), the last file of a release.
    type: dict
    required: true
  service:
    description: Name of the one service to take from the planned release.
    type: str
    default: ""
  secrets:
    description: The secrets that the stack declares, to look whether their files are there.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      users:
        description: Numeric ids of the users that read it.
        type: list
        elements: int
        default: []
  directories:
    description:
      - Directories that containers of the release mount, parents first. Those that are missing are
        made; one that is there is left as it is, since what runs may be at work in it.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: path
        required: true
      owner:
        description: Account, by name or number (which needs no account).
        type: str
        required: true
      group:
        description: Group, by name or number.
        type: str
        required: true
      mode:
        description: Permissions in octal digits.
        type: str
        required: true
      keep:
        description: Nothing here; M(moorage_files) reads it.
        type: bool
        default: false
  encrypted:
    description: Whether the stack's data is to be encrypted on the disk.
    type: bool
    default: false
  packages:
    description: Debian packages without which the stack cannot run here.
    type: list
    elements: str
    default: []
  scaling:
    description: Whether to refuse when more than the number of the service's replicas would change.
    type: bool
    default: false
  restart:
    description: Services that would start anew in any case.
    type: list
    elements: str
    default: []
  runtime:
    description: The version that the host's C(moorage) has to have; not checked when empty.
    type: str
    default: ""
  pulls:
    description: >-
      Images of registries that the release names. One that what runs has not, or that its policy
      wants again, has to be among O(pins), or else nothing is written and it is C(lacking).
    type: list
    elements: dict
    default: []
    suboptions:
      ref:
        description: What the Compose file calls it.
        type: str
        required: true
      policy:
        description: Its C(pull_policy).
        type: str
        default: missing
      platform:
        description: The platform that is wanted, when any.
        type: str
        default: ""
      services:
        description: Services that run it.
        type: list
        elements: str
        default: []
      instead:
        description: What the release names where it cannot be had, since that is made on the host.
        type: str
        default: ""
  pins:
    description: What was pulled for O(pulls), as M(moorage_images) returns it.
    type: list
    elements: dict
    default: []
  token:
    description: The reservation that is held already.
    type: str
    default: ""
  claim:
    description: Who reserves the stack (C(who), C(controller), C(pid), C(started), C(purpose)).
    type: dict
    default: {}
  instead_of:
    description: Token of a reservation whose holder is known to be dead.
    type: str
    default: ""
  break_lock:
    description: Whether to take the stack from whoever has reserved it.
    type: bool
    default: false
  lock_wait:
    description: Seconds to wait for another reservation to end.
    type: float
    default: 0
attributes:
  check_mode:
    support: full
    description: Reports and shows what would be written.
  diff_mode:
    support: full
    description: Shows the files against those of the running release.
author: The Moorage authors
"""

EXAMPLES = r"""
- name: Ensure the release is on the host
  moorage_release:
    base: /opt/tg2em
    release: 4f0c2d9a71be
    files:
      compose.yaml: {content: "services: {}\n", mode: "0644"}
    manifest: {topology: unified, images: []}
"""

RETURN = r"""
path:
  description: The directory of the release.
  returned: success
  type: str
release:
  description: Id of the release; another one than asked for when one service was asked for.
  returned: success
  type: str
token:
  description: What shows that the reservation is one's own; empty without one.
  returned: success
  type: str
lacking:
  description: >-
    Names of C(images), or environments, and C(secrets) that the release needs and the host does not
    have, and the C(pulls) without which it cannot be written.
  returned: success
  type: dict
operations:
  description: What an activation would do, one line each, in check and diff mode.
  returned: success
  type: list
  elements: str
stale_secrets:
  description: Names of the secrets of which what runs holds another value than the file.
  returned: success
  type: list
  elements: str
notes:
  description: What a person should know of it.
  returned: success
  type: list
  elements: str
holder:
  description: Who has reserved the stack.
  returned: when somebody else has
  type: dict
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.moorage_host import dpkg, names, paths, release


class Refused(Exception):
    """Why nothing was written; ``result`` goes with it."""

    def __init__(self, message: str, **result: Any) -> None:
        super().__init__(message)
        self.result = result


def reserve(args: dict[str, Any]) -> str:
    """Reserve the stack and return the token; raises Refused, telling who has it."""
    from moorage.deploy.reservation import Reservation, Reserved
    from moorage.deploy.reservation import reserve as take
    from moorage.release.layout import Layout

    base = Path(args["base"])
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        return take(
            Layout.of(base.name, base.parent),
            Reservation.parse(args["claim"]),
            instead_of=args["instead_of"],
            by_force=args["break_lock"],
            wait_seconds=args["lock_wait"],
        ).token
    except Reserved as refused:
        # The token goes to the controller: it may find that the holder was itself, and is dead.
        raise Refused(str(refused), holder=refused.holder.to_dict()) from None


def give_back(args: dict[str, Any], token: str) -> None:
    """End the reservation again."""
    from moorage.deploy import reservation
    from moorage.release.layout import Layout

    base = Path(args["base"])
    reservation.give_back(Layout.of(base.name, base.parent), token)


def compose_release(args: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any], list[str]]:
    """Return id, files and manifest of the release to write, and what to know of it."""
    if not args["service"]:
        return args["release"], args["files"], args["manifest"], []
    from moorage.deploy.merge import MergeError, merge
    from moorage.deploy.parts import Content
    from moorage.deploy.release import current_release, read_files
    from moorage.release.layout import Layout
    from moorage.release.manifest import data_of

    base = Path(args["base"])
    running = current_release(Layout.of(base.name, base.parent))
    if running is None:
        raise Refused(
            f"nothing of {base.name} runs here yet, so {args['service']} cannot be updated alone: "
            f"deploy the whole stack first"
        )
    planned = {n: (f["content"], int(f["mode"], 8)) for n, f in args["files"].items()}
    try:
        merged = merge(
            Content(read_files(running), data_of(running.manifest)),
            Content(planned, args["manifest"]),
            args["service"],
            scaling=args["scaling"],
        )
    except MergeError as error:
        raise Refused(str(error)) from None
    files = {
        name: {"content": content, "mode": f"{mode:04o}"}
        for name, (content, mode) in merged.content.files.items()
    }
    return merged.id, files, dict(merged.content.manifest), merged.notes


def pinned(args: dict[str, Any], check_mode: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Name images in the arguments as they are called here; return what is to be pulled, notes.

    In check mode what runs, or is there, stands for what a pull would bring.
    """
    pulls = [p for p in args["pulls"] if not args["service"] or args["service"] in p["services"]]
    if not pulls:
        return [], []
    try:
        from moorage.deploy import pinned as own
        from moorage.deploy.parts import Content
        from moorage.deploy.runtimes import pulled as held
        from moorage.images.names import digest_of, period
        from moorage.release.layout import Layout
    except ImportError:
        # A dry run on a bare host.
        return pulls, []
    layout = Layout.of(Path(args["base"]).name, Path(args["base"]).parent)
    known = held.pins(layout)
    # Who asks for another number of replicas asks for no other image.
    due = [] if args["scaling"] else held.due(layout, pulls)
    had = [entry for entry in args["pins"] if entry["image"]]
    brought = {entry["ref"]: (entry["image"], own.origin_of(entry)) for entry in had}
    asked = {entry["ref"] for entry in args["pins"]}
    lacking = [
        # Of one that nobody knows the age of, a policy of times wants it fresh.
        {**pull, "refresh": not digest_of(pull["ref"]) and period(pull["policy"]) is not None}
        for pull in pulls
        if pull["ref"] not in asked and (pull["ref"] in due or pull["ref"] not in known)
    ]
    notes = own.moved(known, [origin for _, origin in brought.values()])
    if lacking and not check_mode:
        return lacking, notes
    files = {n: (f["content"], int(f["mode"], 8)) for n, f in args["files"].items()}
    found = {**known, **brought}
    for pull in pulls:
        # The release names what is made here, until something else is found to be there.
        if pull["instead"] and pull["ref"] in found:
            found[pull["instead"]] = found[pull["ref"]]
    content = own.pin(Content(files, args["manifest"]), found)
    args["files"] = {n: {"content": c, "mode": f"{m:04o}"} for n, (c, m) in content.files.items()}
    args["manifest"], args["release"] = dict(content.manifest), content.manifest["id"]
    return lacking, notes


def write(base: Path, ident: str, files: dict[str, Any], manifest: dict[str, Any]) -> Any:
    """Write the release's directory, and return the release."""
    from moorage.deploy.release import write_release
    from moorage.release.layout import Layout

    content = {name: (file["content"], int(file["mode"], 8)) for name, file in files.items()}
    return write_release(Layout.of(base.name, base.parent), ident, content, manifest)


def bring(args: dict[str, Any], check_mode: bool, show: bool) -> dict[str, Any]:
    """Write the release and return the module's result but for the token.

    With ``show`` also what an activation would do.
    """
    base = Path(args["base"])
    pulls, told = pinned(args, check_mode)
    if pulls and not check_mode:
        return {"changed": False, "lacking": {"images": [], "secrets": [], "pulls": pulls}}
    ident, files, manifest, notes = compose_release(args)
    missing = not (base / "releases" / ident / names.MANIFEST).exists()
    wanted = [entry for entry in args["directories"] if not Path(entry["path"]).is_dir()]
    made = [paths.ensure_directory(entry, check_mode) for entry in wanted]
    result = {
        "changed": missing or bool(made),
        "release": ident,
        "path": str(base / "releases" / ident),
        "lacking": {**release.lacking(base, args["secrets"], manifest), "pulls": pulls},
        "operations": operations(args, ident, files, manifest) if show else [],
        "stale_secrets": stale(base),
        "notes": [*told, *notes],
        "diff": [],
    }
    after = {name: file["content"] for name, file in files.items() if release.is_shown(name)}
    result["diff"] = [*made, *release.differences(release.read_current(base), after)]
    if not check_mode:
        write(base, ident, files, manifest)
    return result


def operations(
    args: dict[str, Any], ident: str, files: dict[str, Any], manifest: dict[str, Any]
) -> list[str]:
    """Return what an activation would do, as the host's own Moorage works it out before it does it.

    The release is written where nobody looks for it: what shall be done is read from its files.
    """
    base = Path(args["base"])
    if not (base / "current").exists():
        return [f"instance to make: {unit['name']}" for unit in manifest.get("units", [])]
    try:
        from moorage.deploy.drivers.registry import driver
        from moorage.deploy.planning import operations as find
        from moorage.deploy.release import ReleaseError
        from moorage.release.layout import Layout
    except ImportError:
        return ["to be seen once playbooks/provision.yml has brought this host up to date"]
    with TemporaryDirectory() as aside:
        found = write(Path(aside) / base.name, ident, files, manifest)
        try:
            told = find(Layout.of(base.name, base.parent), found, args["restart"], driver)
        except ReleaseError as error:
            raise Refused(str(error)) from None
    return [str(operation) for operation in told]


def stale(base: Path) -> list[str]:
    """Return the secrets of which what runs holds another value than the file."""
    try:
        from moorage.deploy.secretfiles import stale_secrets
        from moorage.release.layout import Layout
    except ImportError:
        # A dry run on a bare host.
        return []
    return stale_secrets(Layout.of(base.name, base.parent))


def require_runtime(wanted: str) -> None:
    """Raise Refused unless this host has the wanted version of Moorage's package."""
    try:
        here = (Path(names.LIBRARY) / "VERSION").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise Refused(
            "this host is not provisioned: run `ansible-playbook site.yml` first"
        ) from None
    if wanted and here != wanted:
        raise Refused(
            "this host has another version of Moorage than this checkout: bring it up to date with "
            "`ansible-playbook playbooks/provision.yml`, or deploy with `ansible-playbook site.yml`"
        )


def require_packages(wanted: list[str]) -> None:
    """Raise Refused unless this host has these Debian packages."""
    if missing := dpkg.missing(wanted, dpkg.read_status()):
        raise Refused(
            f"this host lacks {', '.join(missing)} of Debian, without which the stack cannot run: "
            f"`ansible-playbook playbooks/provision.yml` installs that, as `site.yml` does"
        )


def require_storage(base: Path, encrypted: bool) -> None:
    """Raise Refused unless the data lies as it is wanted, encrypted and within reach or not."""
    from moorage.deploy.encryption import WAY, fault, is_encrypted, obstacle
    from moorage.release.layout import Layout

    layout = Layout.of(base.name, base.parent)
    if why := obstacle(layout, wanted=encrypted):
        raise Refused(f"{why}. {WAY}")
    if encrypted and not is_encrypted(layout):
        raise Refused(
            f"{layout.data} is not encrypted yet: run `ansible-playbook playbooks/provision.yml`"
        )
    if why := fault(layout):
        raise Refused(why)


def main() -> None:
    """Run the module."""
    secret = {
        "name": {"type": "str", "required": True},
        "users": {"type": "list", "elements": "int", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "base": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "files": {"type": "dict", "required": True},
            "manifest": {"type": "dict", "required": True},
            "service": {"type": "str", "default": ""},
            "scaling": {"type": "bool", "default": False},
            # Their names and readers, no values.
            "secrets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": secret,
                "no_log": False,
            },
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    **{n: {"type": "str", "required": True} for n in ("owner", "group", "mode")},
                    "keep": {"type": "bool", "default": False},
                },
            },
            "encrypted": {"type": "bool", "default": False},
            "packages": {"type": "list", "elements": "str", "default": []},
            "restart": {"type": "list", "elements": "str", "default": []},
            "runtime": {"type": "str", "default": ""},
            "pulls": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "ref": {"type": "str", "required": True},
                    "policy": {"type": "str", "default": "missing"},
                    "platform": {"type": "str", "default": ""},
                    "services": {"type": "list", "elements": "str", "default": []},
                    "instead": {"type": "str", "default": ""},
                },
            },
            "pins": {"type": "list", "elements": "dict", "default": []},
            # It shows whose reservation it is, and opens nothing.
            "token": {"type": "str", "default": "", "no_log": False},
            "claim": {"type": "dict", "default": {}},
            "instead_of": {"type": "str", "default": ""},
            "break_lock": {"type": "bool", "default": False},
            "lock_wait": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    args, token = module.params, module.params["token"]
    sys.path.insert(0, names.LIBRARY)
    try:
        if not module.check_mode:
            require_runtime(args["runtime"])
            require_packages(args["packages"])
            require_storage(Path(args["base"]), args["encrypted"])
            token = token or (reserve(args) if args["claim"] else "")
        result = bring(args, module.check_mode, module.check_mode or module._diff)
    except Refused as refused:
        _end(module, args, token, str(refused), refused.result)
    except (OSError, ImportError, ValueError, paths.PathError) as trouble:
        message = f"release {args['release']} could not be written: {trouble}"
        _end(module, args, token, message, {})
    module.exit_json(token=token, **result)


def _end(
    module: AnsibleModule, args: dict[str, Any], token: str, message: str, result: dict[str, Any]
) -> None:
    if token:
        give_back(args, token)
    module.fail_json(msg=message, **result)


if __name__ == "__main__":
    main()

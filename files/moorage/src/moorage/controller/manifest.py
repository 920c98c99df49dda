"""What a stack's release consists of and asks of its host, from its rendering: plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import Any

from moorage.compose import Stack
from moorage.compose.errors import ComposeError, Problem
from moorage.controller.settings import prefix
from moorage.release.digest import digest
from moorage.release.manifest import FORMAT, Directory, Manifest, data_of
from moorage.release.names import (
    GATEWAY_UNIT,
    RELEASE_ID_LENGTH,
    SHIPPED,
    SHIPPED_BASE64,
    SHIPPED_DIRECTORY,
)
from moorage.render import Rendering, Settings
from moorage.render.gateway_unit import gateway_rotation
from moorage.render.rendering import SecretFact
from moorage.render.templates import installed_file


def release_id(settings: Settings, rendering: Rendering) -> str:
    """The name of a release: a hash of what it consists of and of what it is called."""
    what = {"rendering": rendering.to_dict(), "format": FORMAT, "version": settings.version}
    return digest(what, RELEASE_ID_LENGTH)


def manifest(name: str, settings: Settings, rendering: Rendering) -> dict[str, Any]:
    """What release.json says: all that a host needs to know of the release."""
    said = Manifest(
        format=FORMAT,
        stack=name,
        id=release_id(settings, rendering),
        version=settings.version,
        topology=settings.topology,
        manager=rendering.manager,
        images=tuple(sorted(set(settings.image_refs.values()))),
        services=rendering.services,
        # What has to lie at a path of its own, whatever the release that it comes from.
        install={
            path: file.install_as for path, file in rendering.files.items() if file.install_as
        },
        runtime=runtime_directories(settings, rendering),
        # Those change hands with the release; all others are root's, and provisioning's.
        directories=tuple(
            Directory(**{key: value for key, value in entry.items() if key != "keep"})
            for entry in directories_of(settings, rendering)
            if entry["keep"]
        ),
        seeds=rendering.seeds,
        places=rendering.places,
        units=rendering.units,
        edge=rendering.edge,
        probe=rendering.probe,
        rollout=rendering.rollout,
        hooks=rendering.hooks,
        migrations=rendering.migrations,
    )
    data: dict[str, Any] = data_of(said)
    return data


def secrets_of(
    stack: Stack, facts: Iterable[SecretFact], given: Iterable[str]
) -> list[dict[str, Any]]:
    """The stack's secrets and who reads them; ComposeError for a value of one it does not have."""
    secrets = [
        {
            "name": fact.name,
            "users": list(fact.users),
            "length": fact.generate or 0,
            "optional": fact.optional,
            "services": [
                name
                for name, service in stack.services.items()
                if any(grant.source == fact.name for grant in service.secrets)
            ],
        }
        for fact in facts
    ]
    unknown = sorted(set(given) - {secret["name"] for secret in secrets})
    if unknown:
        known = ", ".join(sorted(str(secret["name"]) for secret in secrets)) or "none"
        raise ComposeError(
            Problem(
                f"{prefix(stack.name)}_secrets.{name}",
                "the stack has no such secret",
                f"it has: {known}",
            )
            for name in unknown
        )
    return secrets


def directories_of(settings: Settings, rendering: Rendering) -> list[dict[str, Any]]:
    """Directories that are there before the stack starts, parents first.

    Those with ``keep`` are an application's: provisioning leaves one that is there as it is.
    """
    base, encrypted = settings.base_dir, settings.storage_encryption != "none"
    own = [
        _directory(base, "0:0", "0755"),
        *(_directory(f"{base}/{name}", "0:0", "0755") for name in ("data", "config", "releases")),
        # 0711: a user passes through to the directory of its own, and lists nothing.
        _directory(f"{base}/secrets", "0:0", "0711"),
        # Dumps of hooks are data: a link leads there where that is encrypted.
        _directory(f"{base}/data/.backups" if encrypted else f"{base}/backups", "0:0", "0700"),
    ]
    if any(name.startswith((SHIPPED, SHIPPED_BASE64)) for name in rendering.files):
        # What is mounted of it containers reach, and nobody else of the host.
        own.append(_directory(f"{base}/{SHIPPED_DIRECTORY}", "0:0", "0700"))
    logs = _directory(f"{base}/logs", settings.user, "0755")
    found = {entry["path"]: {**entry, "keep": False} for entry in own}
    found[logs["path"]] = {**logs, "keep": True}
    for fact in (*rendering.directories, *rendering.volumes):
        # The supervisor's configuration is root's.
        keep = not fact.path.startswith(f"{base}/config/")
        found[fact.path] = {**asdict(fact), "keep": keep}
    return [
        entry
        for path, entry in sorted(found.items())
        if not path.startswith(f"{settings.run_dir}/")
    ]


def runtime_directories(settings: Settings, rendering: Rendering) -> tuple[Directory, ...]:
    """Directories below /run, which are gone after a boot."""
    return tuple(d for d in rendering.directories if d.path.startswith(f"{settings.run_dir}/"))


def with_tmpfiles(
    rendering: Rendering, name: str, run_dir: str, runtime: Iterable[Directory]
) -> Rendering:
    """Add what makes the release's directories below /run at a boot, before the engine starts.

    It goes with the release and not with provisioning: a host whose release failed boots with the
    one that was put back.
    """
    file = installed_file(
        "etc/tmpfiles.d/moorage-STACK-TOPOLOGY.conf",
        stack=name,
        topology=rendering.topology,
        parent=PurePosixPath(run_dir).parent,
        run_dir=run_dir,
        directories=runtime,
    )
    return replace(rendering, files={**rendering.files, "tmpfiles.conf": file})


def with_rotation(rendering: Rendering, name: str, settings: Settings, days: int) -> Rendering:
    """Add what keeps the logs of processes, and the gateway's audit log, for ``days``.

    Containers log through the engine, which limits them. It goes with the release, so that an
    update brings it, and a change of form takes it away.
    """
    files = dict(rendering.files)
    if GATEWAY_UNIT in files:
        files["gateway.logrotate"] = gateway_rotation(name, days)
    logs = f"{settings.base_dir}/logs"
    for fact in rendering.directories:
        if fact.path == logs:
            files["logrotate.conf"] = installed_file(
                "etc/logrotate.d/moorage-STACK",
                stack=name,
                logs_dir=logs,
                days=days,
                uid=fact.owner,
                gid=fact.group,
            )
    return replace(rendering, files=files)


def _directory(path: str, user: str, mode: str) -> dict[str, Any]:
    uid, _, gid = user.partition(":")
    return {"path": path, "owner": int(uid), "group": int(gid), "mode": mode}


def ports_of(rendering: Rendering) -> list[dict[str, Any]]:
    """Every published port, the edge's included."""
    return [
        {
            "port": port.port,
            "protocol": port.protocol,
            # What the engine takes for a port without an address.
            "address": port.host_ip or "0.0.0.0",
            "service": port.service,
        }
        for port in rendering.ports
    ]

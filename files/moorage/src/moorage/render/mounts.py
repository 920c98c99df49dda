"""Mounts of volumes, secrets and configs: all of them binds of the stack's own directories."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from moorage.compose.errors import did_you_mean
from moorage.compose.model import Service
from moorage.compose.parts import Mount, Relative
from moorage.release.manifest import Directory, Place, Seed
from moorage.release.names import ANY_READER, CONFIG_LABEL, CONFIGS, reader_directory
from moorage.release.places import clean, inside, reaches_engine, refusal
from moorage.render.context import Context, numeric_user
from moorage.render.rendering import RenderedFile, SecretFact
from moorage.render.shipped import shipped_files, shipped_mount

User = tuple[int, int]
_VOLUME_MODE = "0750"
# Of a volume that its image has not been asked about yet.
UNSEEDED = "0700"


def bind(source: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    """A bind mount whose source must be there: a typing error must not make a directory."""
    mount: dict[str, Any] = {"type": "bind", "source": source, "target": target}
    if read_only:
        mount["read_only"] = True
    return {**mount, "bind": {"create_host_path": False}}


def service_mounts(ctx: Context, service: Service, user: User | None) -> list[dict[str, Any]]:
    """Everything that a service mounts, in a stable order."""
    found = [mount for index, entry in enumerate(service.volumes)
             if (mount := _mount(ctx, service, index, entry)) is not None]  # fmt: skip
    for grant in service.secrets:
        target = _absolute(grant.target or grant.source, "/run/secrets")
        reader = reader_directory(_reader(user))
        source = f"{ctx.settings.secrets_dir}/for/{reader}/{grant.source}"
        found.append(bind(source, target, read_only=True))
        if grant.mode is not None or grant.uid is not None or grant.gid is not None:
            ctx.note(service.name, "secrets", "secret files belong to the user, mode 0400")
    for grant in service.configs:
        target = _absolute(grant.target or grant.source, "")
        found.append(bind(_config_path(ctx, grant.source), target, read_only=True))
    return found


def _reader(user: User | None) -> int:
    return ANY_READER if user is None else user[0]


def _absolute(target: str, directory: str) -> str:
    return target if target.startswith("/") else f"{directory}/{target}"


def _mount(ctx: Context, service: Service, index: int, mount: Mount) -> dict[str, Any] | None:
    key = f"volumes[{index}]"
    if mount.type == "tmpfs":
        return mount.to_dict()
    if mount.type == "volume":
        below = _below(mount)
        if below and not _is_steady(ctx, service, key, mount, below):
            return None
        source = f"{ctx.settings.base_dir}/data/{mount.source}" + (f"/{below}" if below else "")
        return bind(source, mount.target, read_only=mount.read_only)
    source = mount.source or ""
    if source in ctx.stack.shipped:
        return bind(shipped_mount(ctx, service, key, mount), mount.target, read_only=True)
    if isinstance(mount.source, Relative):
        message = "leads out of the stack's directory, elsewhere for everybody who deploys"
        advice = "write an absolute path of the host, or lay it into the stack's directory"
        shown = os.path.relpath(source, ctx.stack.directory)
        ctx.wrong(service.name, key, message, advice, shown)
        return None
    if not _is_free(ctx, service, key, mount):
        return None
    return {**mount.to_dict(), "bind": {**mount.options.get("bind", {}), "create_host_path": False}}


def _below(mount: Mount) -> str:
    """Return which part of its volume a mount is, "" for all of it."""
    part = str(mount.options.get("volume", {}).get("subpath") or "")
    return posixpath.normpath(part).strip("/") if part.strip("/") else ""


def _is_steady(ctx: Context, service: Service, key: str, mount: Mount, below: str) -> bool:
    """Whether a part of a volume is what its path says, whoever is an attacker.

    The engine follows links on the way to it, and whoever has what lies above can put one there.
    """
    where = f"{key}.volume.subpath"
    if below in (".", "..") or below.startswith("../"):
        ctx.wrong(service.name, where, "leads out of the volume", "name a part of it", below)
        return False
    writer = next(
        (
            other.name
            for other in ctx.services.values()
            for entry in other.volumes
            if entry.type == "volume" and entry.source == mount.source and not entry.read_only
            if (above := _below(entry)) != below and f"{below}/".startswith(above and f"{above}/")
        ),
        None,
    )
    if writer is not None:
        message = f"the engine would follow a link that {writer} can put there, to anywhere"
        advice = f"mount all of {mount.source}, or give this part a volume of its own"
        ctx.wrong(service.name, where, message, advice, below)
    return writer is None


def _is_free(ctx: Context, service: Service, key: str, mount: Mount) -> bool:
    """Whether a path of the host may be mounted, and stays what it is."""
    source = mount.source or ""
    if why := refusal(source, ctx.settings.base_dir, read_only=mount.read_only):
        engine = reaches_engine(source)
        advice = "set MOORAGE_CONTROL_SOCKET in environment: the control API starts and stops"
        advice = advice if engine else "mount another directory, or a named volume"
        ctx.wrong(service.name, key, why, advice, source)
        return False
    writer = next(
        (
            (other.name, entry.source)
            for other in ctx.services.values()
            for entry in other.volumes
            if entry.type == "bind" and entry.source and not entry.read_only
            if clean(source) != clean(entry.source) and inside(clean(source), clean(entry.source))
        ),
        None,
    )
    if writer is not None:
        message = f"the engine would follow a link that {writer[0]} can put there, to anywhere"
        ctx.wrong(service.name, key, message, f"mount all of {writer[1]} here too", source)
    return writer is None


def _config_path(ctx: Context, name: str) -> str:
    return f"{ctx.settings.base_dir}/config/files/{name}"


def config_files(ctx: Context) -> dict[str, RenderedFile]:
    """The stack's configs, and what its directory has that is mounted, as files of the release."""
    files = shipped_files(ctx)
    for name, config in sorted(ctx.stack.configs.items()):
        content = config.content if config.content is not None else config.body
        if content is None:
            advice = "give content: or file:"
            ctx.wrong("", f"configs.{name}", "its content is not in the description", advice)
            continue
        files[f"{CONFIGS}{name}"] = RenderedFile(content, "0644", _config_path(ctx, name))
    return files


def config_labels(ctx: Context, service: Service) -> dict[str, str]:
    """Labels that change with the configs of a service, so that its container does too."""
    labels = {}
    for grant in service.configs:
        config = ctx.stack.configs[grant.source]
        content = (config.content if config.content is not None else config.body) or ""
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        labels[f"{CONFIG_LABEL}.{grant.source}"] = digest
    return labels


def volume_facts(
    ctx: Context, users: Mapping[str, User | None], images: Mapping[str, str]
) -> tuple[tuple[Directory, ...], tuple[Seed, ...]]:
    """Directories of the named volumes with their owners, and the images that others belong to.

    `images` has what each service runs, where it runs one.
    """
    facts, seeds = [], []
    for name in set(ctx.settings.volume_owners) - set(ctx.stack.volumes):
        advice = did_you_mean(name, ctx.stack.volumes)
        ctx.wrong("", f"settings.volume_owners.{name}", "is no volume here", advice)
    for name, volume in sorted(ctx.stack.volumes.items()):
        where = f"volumes.{name}"
        driver = volume.options.get("driver", "local")
        if driver != "local" or volume.options.get("driver_opts"):
            advice = "mount it on the host, and its path in the service; or remove the driver"
            message = f"volumes are directories under {ctx.settings.base_dir}/data"
            ctx.wrong("", where, message, advice)
            continue
        path = f"{ctx.settings.base_dir}/data/{name}"
        said = ctx.settings.volume_owners.get(name) or volume.moorage.owner
        owner = numeric_user(said) or _owner(ctx, name, users)
        if owner is not None:
            mode = volume.moorage.mode or _VOLUME_MODE
            facts.append(Directory(path, *owner, mode.zfill(4)))
            continue
        found = [*_seeds(ctx, name, path, images)]
        if not found:
            reader = next(s.name for s in ctx.services.values() if _mounts(s, name))
            advice = f'add user: "uid:gid", or x-moorage: {{owner: "uid:gid"}} to {name}'
            ctx.wrong(reader, "user", f"no numeric user to own the volume {name}", advice)
        facts.append(Directory(path, 0, 0, UNSEEDED))
        seeds += found
    return tuple(facts), tuple(seeds)


def _mounts(service: Service, volume: str) -> list[Mount]:
    return [m for m in service.volumes if m.type == "volume" and m.source == volume]


def _owner(ctx: Context, volume: str, users: Mapping[str, User | None]) -> User | None:
    """Who works there in numbers; None where all do as their images say."""
    found = {users[s.name]: s.name for s in ctx.services.values() if _mounts(s, volume)}
    owners = {user: name for user, name in found.items() if user is not None}
    if len(owners) > 1:
        # A container's root works with what is another's.
        owners = {user: name for user, name in owners.items() if user[0]} or owners
    if len(owners) > 1:
        names = " and ".join(owners.values())
        message = f"{names} mount it as different users"
        advice = 'say who owns it: x-moorage: {owner: "uid:gid"}'
        ctx.wrong("", f"volumes.{volume}", message, advice)
    return next(iter(owners), None)


def _seeds(ctx: Context, volume: str, path: str, images: Mapping[str, str]) -> Iterator[Seed]:
    """Yield the images of who mounts all of a volume, those that write there first."""
    mode = ctx.stack.volumes[volume].moorage.mode
    pairs = ((m, s) for s in ctx.services.values() for m in _mounts(s, volume) if not _below(m))
    for mount, service in sorted(pairs, key=lambda pair: pair[0].read_only):
        if service.name in images:
            user = service.moorage.user or service.user or ""
            yield Seed(path, images[service.name], mount.target, user, (mode or "").lstrip("0"))


def place_facts(ctx: Context) -> tuple[Place, ...]:
    """The paths of the host that services mount, as the host looks at them."""
    found: dict[str, Place] = {}
    for service in ctx.services.values():
        for mount in service.volumes:
            source = mount.source or ""
            if mount.type != "bind" or isinstance(mount.source, Relative):
                continue
            if source in ctx.stack.shipped:
                continue
            other = found.get(source, Place(source, make=False, read_only=True))
            made = bool(mount.options.get("bind", {}).get("create_host_path", True))
            read_only = mount.read_only and other.read_only
            found[source] = Place(source, made or other.make, read_only)
    for place in found.values():
        if place.make and not refusal(place.path, ctx.settings.base_dir, making=True):
            ctx.notes.append(f"{place.path} is made, as root's, on a host that does not have it")
    return tuple(found[source] for source in sorted(found))


def secret_facts(ctx: Context, users: dict[str, User | None]) -> tuple[SecretFact, ...]:
    """The secrets and who reads them."""
    facts = []
    for name, secret in sorted(ctx.stack.secrets.items()):
        readers = {
            _reader(users[service.name])
            for service in ctx.services.values()
            for grant in service.secrets
            if grant.source == name
        }
        source = {}
        if secret.file is not None:
            # Relative, so that a release does not depend on where the checkout lies.
            source = {"file": os.path.relpath(secret.file, ctx.stack.directory)}
        elif secret.environment is not None:
            source = {"environment": secret.environment}
        elif secret.external:
            source = {"external": secret.name}
        moorage = secret.moorage
        facts.append(
            SecretFact(name, tuple(sorted(readers)), moorage.generate, source, moorage.optional)
        )
    return tuple(facts)

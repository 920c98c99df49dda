"""How the data of a service is saved, as far as its description and its image tell."""

from __future__ import annotations

from moorage.release import manifest
from moorage.render.context import Context
from moorage.render.service import PlacedService

DUMP, RESTORE = "moorage-dump", "moorage-restore"
CENSUS, RESTORE_TABLES = "moorage-census", "moorage-restore-tables"


def backup_fact(ctx: Context, service: PlacedService) -> manifest.Backup | None:
    """Say how; None where its volumes, if it has any, are copied as they are."""
    asked = service.moorage.backup
    if asked is None and not service.is_data:
        return None
    volumes = _own_volumes(ctx, service)
    if asked is not None:
        return manifest.Backup(
            asked.how,
            asked.dump,
            asked.restore,
            restore_tables=asked.restore_tables,
            volumes=volumes,
        )
    commands = ctx.settings.image_commands.get(service.image or "", ())
    if DUMP in commands:
        census, tables = ((n,) if n in commands else () for n in (CENSUS, RESTORE_TABLES))
        return manifest.Backup("dump", (DUMP,), (RESTORE,), census, tables, volumes)
    return manifest.Backup("unknown", volumes=volumes) if volumes else None


def _own_volumes(ctx: Context, service: PlacedService) -> tuple[str, ...]:
    """Return the volumes of a service that no other one mounts: those are saved for that one."""
    others = {
        mount.source
        for other in ctx.services.values()
        if other.name != service.name
        for mount in other.volumes
        if mount.type == "volume"
    }
    mine = (mount.source for mount in service.volumes if mount.type == "volume")
    return tuple(dict.fromkeys(name for name in mine if name and name not in others))

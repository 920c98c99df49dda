"""Releases with the images that were pulled for them: what runs stays what was pulled.

A plan says `registry.example.com/shop:1`, and a tag may move. So the release on a host names the
image by our own name, which says its digest; its id follows from the plan's and from those names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from moorage.deploy.parts import Content
from moorage.release.digest import digest
from moorage.release.manifest import Pulled, data_of
from moorage.release.names import COMPOSE, COMPOSE_JSON, CONFIG_LABEL, RELEASE_ID_LENGTH


def pin(content: Content, found: Mapping[str, tuple[str, Pulled]]) -> Content:
    """Return a planned release that names images as they are called here.

    Pure. ``found`` has name and origin by the reference that the plan has.
    """
    manifest = dict(content.manifest)
    used = {r: found[r] for r in manifest.get("images", ()) if r in found}
    if not used:
        return content
    names = {ref: name for ref, (name, _) in used.items()}
    planned = manifest["id"]
    ident = digest({"planned": planned, "pulled": names}, RELEASE_ID_LENGTH)
    configs: dict[str, str] = {}
    units = []
    for unit in manifest["units"]:
        if (name := names.get(unit.get("image", ""))) is not None:
            # What is replaced when the image is another one.
            config = digest([unit["config"], name], len(unit["config"]))
            configs[unit["config"]] = config
            unit = {**unit, "config": config, "image": name}
        units.append(unit)
    manifest |= {
        "id": ident,
        "planned": planned,
        "images": sorted(names.get(ref, ref) for ref in manifest["images"]),
        "pulled": {name: data_of(origin) for name, origin in used.values()},
        "units": units,
        "seeds": [
            {**seed, "image": names.get(seed["image"], seed["image"])}
            for seed in manifest.get("seeds", ())
        ],
    }
    return Content({**content.files, **_compose(content, names, configs)}, manifest)


def _compose(
    content: Content, names: Mapping[str, str], configs: Mapping[str, str]
) -> dict[str, tuple[str, int]]:
    text, mode = content.files[COMPOSE_JSON]
    compose = json.loads(text)
    for entry in compose["services"].values():
        if entry.get("image") in names:
            entry["image"] = names[entry["image"]]
            label = entry.get("labels", {}).get(CONFIG_LABEL)
            if label in configs:
                entry["labels"][CONFIG_LABEL] = configs[label]
    files = {COMPOSE_JSON: (json.dumps(compose, indent=2, ensure_ascii=False) + "\n", mode)}
    # A host has no parser of YAML; what is replaced stands alone in its line, as we wrote it.
    plain, mode = content.files[COMPOSE]

    def image(line: re.Match[str]) -> str:
        return f"{line[1]}{names.get(line[2], line[2])}"

    plain = re.sub(r"^( +image: )\"?([^\s\"']+)\"?$", image, plain, flags=re.MULTILINE)
    for before, after in configs.items():
        plain = plain.replace(before, after)
    files[COMPOSE] = (plain, mode)
    return files


def origin_of(event: Mapping[str, Any]) -> Pulled:
    """Return what a release says of an image, from what was told of its pull."""
    return Pulled(ref=str(event["ref"]), digest=str(event["digest"]), id=str(event["id"]))


def moved(before: Mapping[str, tuple[str, Pulled]], after: Collection[Pulled]) -> list[str]:
    """Return in words which names stand for another image than in the running release."""
    said = []
    for origin in after:
        old = before[origin.ref][1] if origin.ref in before else origin
        if old.id != origin.id:
            was, now = (o.digest or o.id for o in (old, origin))
            said.append(f"{origin.ref} has moved in its registry, from {was} to {now}")
    return said


def as_pulled(release_images: Collection[str], pulled: Mapping[str, Pulled]) -> list[str]:
    """Return references of images that are missing, as a person may pull them."""
    return [
        f"{p.ref.partition('@')[0]} ({p.digest or p.id})" if (p := pulled.get(ref)) else ref
        for ref in release_images
    ]

"""`moorage images`: what a stack runs on, to a host that reaches no registry."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from moorage.cli.caller import OK
from moorage.cli.releases import layout_of
from moorage.common.text import say
from moorage.deploy.runtimes import archive


def add_parsers(verbs: Any) -> None:
    """Add the verb to the command line."""
    images = verbs.add_parser("images", help="take images to a host that reaches no registry")
    what = images.add_subparsers(dest="what", required=True, metavar="COMMAND")
    save = what.add_parser("save", help="write all images that a stack runs on to a file")
    save.add_argument("stack")
    save.add_argument("file", type=Path)
    load = what.add_parser("load", help="give this host the images of such a file")
    load.add_argument("file", type=Path)


def _images(args: argparse.Namespace) -> int:
    if args.what == "save":
        for name in archive.save(layout_of(args), args.file):
            say(f"saved {name}")
        print(f"{args.file}: {args.file.stat().st_size >> 20} MiB")
    else:
        for name in archive.load(args.file):
            say(f"loaded {name}")
    return OK


VERBS = {"images": _images}

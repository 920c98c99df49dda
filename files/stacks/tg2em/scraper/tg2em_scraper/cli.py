"""Command line of the scraper."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tg2em_scraper import heartbeat

if TYPE_CHECKING:
    from tg2em_core.db import SessionFactory

    from tg2em_scraper.config import Config
    from tg2em_scraper.runner import Runner

log = logging.getLogger("tg2em_scraper")

# Long enough to finish a transaction; what is cut off is done again, and a hand-over waits for us.
_STOP_SECONDS = 0.3
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 wrong usage or setting."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "health":
        healthy, text = heartbeat.check(heartbeat.data_dir(os.environ))
        print(text)
        return 0 if healthy else 1
    _set_up_logging()
    from tg2em_core.environment import ConfigurationError

    try:
        if arguments.command == "once":
            return _once(arguments.channel)
        if arguments.command == "import-export":
            return _import(arguments.directory, arguments.channel)
        return _run()
    except ConfigurationError as error:
        print(f"tg2em_scraper: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tg2em_scraper", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="read the channels at their interval until stopped (default)")
    once = commands.add_parser("once", help="read the channels now, work on pictures, and end")
    once.add_argument("--channel", help="this channel alone")
    export = commands.add_parser("import-export", help="back-fill from a Telegram Desktop export")
    export.add_argument("directory", type=Path, help="the folder that holds result.json")
    export.add_argument("--channel", required=True, help="the name the posts are stored under")
    commands.add_parser("health", help="exit 0 when the running scraper is getting on, else 1")
    return parser


def _set_up_logging() -> None:
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    # They would name addresses and requests line by line.
    for name in ("telethon", "urllib3", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _set_up() -> tuple[Config, SessionFactory]:
    from tg2em_core.db import make_engine, make_sessions
    from tg2em_core.environment import ConfigurationError, DatabaseConfig

    from tg2em_scraper.config import Config

    os.umask(0o077)
    config = Config.from_environment()
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"SCRAPER_DATA {config.data_dir}: {error.strerror}") from error
    if not os.access(config.data_dir, os.W_OK):
        raise ConfigurationError(f"SCRAPER_DATA {config.data_dir} is not writable")
    return config, make_sessions(make_engine(DatabaseConfig.from_environment(), pool_size=2))


def _run() -> int:
    # The signals are waited for here and interrupt nothing: the worker is asked to stop and, if
    # it sits in a slow request, left behind. The database rolls its open transaction back.
    signal.pthread_sigmask(signal.SIG_BLOCK, [*_SIGNALS, signal.SIGUSR1])
    from tg2em_scraper.runner import Runner

    config, sessions = _set_up()
    stop = threading.Event()
    runner = Runner(sessions, config, stop)
    failed: list[BaseException] = []
    worker = threading.Thread(target=_work, args=(runner, failed), daemon=True)
    log.info("scraper started, process %d", os.getpid())
    worker.start()
    received = signal.sigwait([*_SIGNALS, signal.SIGUSR1])
    stop.set()
    worker.join(_STOP_SECONDS)
    if failed:
        log.error("scraper ends: %s", type(failed[0]).__name__)
    else:
        log.info("scraper stopped by %s", signal.Signals(received).name)
    logging.shutdown()
    sys.stdout.flush()
    os._exit(1 if failed else 0)


def _work(runner: Runner, failed: list[BaseException]) -> None:
    from tg2em_core.environment import ConfigurationError

    try:
        runner.run()
    except ConfigurationError as error:
        log.error("%s", error)
        failed.append(error)
    except BaseException as error:
        log.exception("unexpected error")
        failed.append(error)
    finally:
        os.kill(os.getpid(), signal.SIGUSR1)


def _once(name: str | None) -> int:
    from tg2em_scraper.runner import Runner

    config, sessions = _set_up()
    runner = Runner(sessions, config, threading.Event())
    try:
        channels = [runner.store.channel(name)] if name else runner.store.channels()
    except LookupError as error:
        print(f"tg2em_scraper: {error}", file=sys.stderr)
        return 2
    options = runner.store.options()
    runner.sign_in.tick()
    counts = runner.read(channels, options)
    pictures = runner.work_pictures(options)
    log.info("%d channels: %s; %d pictures", len(channels), counts, pictures)
    failed = [c.name for c in channels if runner.store.channel(c.name).last_error]
    runner.close()
    return 1 if failed or counts.failed else 0


def _import(directory: Path, name: str) -> int:
    from tg2em_core.models import Source

    from tg2em_scraper import export
    from tg2em_scraper.runner import Runner
    from tg2em_scraper.source import SourceError
    from tg2em_scraper.store import Counts, Mark

    config, sessions = _set_up()
    runner = Runner(sessions, config, threading.Event())
    total = Counts()
    pictures = 0
    try:
        for page in export.pages(directory, name):
            for problem in page.problems:
                log.warning("%s: %s", name, problem)
                total.failed += 1
            channel = runner.store.channel(name, create_as=Source.EXPORT)
            options = runner.store.options()
            ids = [message.message_id for message in page.messages]
            # A channel that is also read elsewhere keeps its own marks.
            own = channel.source is Source.EXPORT and ids
            mark = Mark(max(ids), min(ids), True) if own else Mark()
            total.add(runner.store.save(channel.id, page.messages, options, mark))
            while done := runner.work_pictures(options):
                pictures += done
            runner.store.checked(channel.id)
    except SourceError as error:
        print(f"tg2em_scraper: {error}", file=sys.stderr)
        return 1
    finally:
        runner.close()
    log.info("%s: %s; %d pictures", name, total, pictures)
    return 1 if total.failed else 0

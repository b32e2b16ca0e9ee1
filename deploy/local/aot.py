"""Makes the caches from which Java starts in half the time, once a machine, by a stack that is started for it.

`python -m deploy.local.aot`, which `make test` runs, fetches the stack's files too. The stack works without caches.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from deploy import kafka_admin
from deploy.errors import OperatorError
from deploy.local import stack
from deploy.local.caches import Caches
from deploy.local.fetch import alone, fetch_all
from deploy.local.progress import Console, Progress
from deploy.settings import Settings, load_settings

STOP_WITHIN_S = 180.0
"""Java writes a cache when the program ends."""


def make(settings: Settings, progress: Progress) -> bool:
    """Makes the caches of these files unless they are there. False when Java did not write them all."""
    fetched = fetch_all(settings, progress)
    wanted = fetched.caches.directory
    with alone(settings.cache_dir / "aot.lock"):
        if wanted.exists():
            return True
        progress.say("Preparing a quicker start of Kafka and the registry: once, a minute.")
        with tempfile.TemporaryDirectory(prefix="mandate-aot-", dir=_made(wanted.parent)) as scratch:
            draft = _made(Path(scratch) / "caches")
            here = {"kafka_bootstrap": None, "registry_url": None, "kafka_port": 0, "registry_port": 0}
            local = settings.model_copy(update={**here, "data_dir": Path(scratch)})
            try:
                stack.start(local, fetched=replace(fetched, caches=Caches(draft, making=True)))
                kafka_admin.ensure_topics(local)
                kafka_admin.register_schemas(local)
                stack.stop(local, within_s=STOP_WITHIN_S)
            finally:
                stack.stop(local)
            is_whole = all((draft / f"{name}.aot").exists() for name in stack.PROGRAMS)
            os.replace(draft, wanted)  # what Java can't do here it is not asked again
    return is_whole


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def main() -> int:
    """0: they are there, or the stack starts without them. 1: its files can't be fetched."""
    settings, progress = load_settings(), Console()
    try:
        fetch_all(settings, progress)
    except OperatorError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        if not make(settings, progress):
            print("Java wrote no caches; the local stack starts slowly, and works.", file=sys.stderr)
    except (OperatorError, OSError) as error:
        print(f"{error} The local stack starts slowly for it, and works.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

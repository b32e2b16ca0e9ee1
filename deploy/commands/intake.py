"""`mandate intake`: one intake until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from deploy.errors import OperatorError
from deploy.settings import Settings
from streams import EXIT_BROKEN, BadInput, garbage
from streams.access import check_access
from streams.broker_time import check_clock
from streams.intake import Intake
from streams.metrics import intake as metrics
from streams.metrics import serve


def run(settings: Settings) -> int:
    """Work until told to end. 0: everything is delivered and committed; 70: infrastructure failed, start it again.

    65: an input gives too many dead letters; a start helps only once its producer is mended.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(settings, metrics.REGISTRY)
        check_access(settings)
        if settings.clock == "system":
            check_clock(settings)
        working = Intake(settings, on_ready=lambda: print("intake ready", flush=True))
        garbage.begin()
        working.run(stop.is_set)
    except OperatorError as error:
        print(f"mandate: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, BadInput) else EXIT_BROKEN
    return 0

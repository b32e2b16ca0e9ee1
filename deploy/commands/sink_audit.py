"""`mandate sink audit`: lands records in the lake until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

from deploy.errors import OperatorError
from deploy.settings import Settings


def run(settings: Settings, *, once: bool = False, commit_interval_s: float = 5.0, skip_lost: bool = False) -> int:
    """Work until told to end, or with `once` until all has landed. 70: infrastructure failed, start it again."""
    from sinks.audit import serve
    from sinks.consume import Stop
    from streams import EXIT_BROKEN
    from streams.access import check_access
    from streams.metrics import serve as serve_metrics
    from streams.metrics import sinks as metrics

    try:
        serve_metrics(settings, metrics.AUDIT)
        check_access(settings)
        with Stop().listening() as stop:
            count = serve(
                settings,
                once=once,
                commit_interval_s=commit_interval_s,
                skip_lost=skip_lost,
                stop=stop,
                ready=lambda line: print(line, flush=True),
            )
    except OperatorError as error:
        print(f"mandate: {error}", file=sys.stderr)
        return EXIT_BROKEN
    print(f"audit sink ended: {count} records landed", flush=True)
    return 0

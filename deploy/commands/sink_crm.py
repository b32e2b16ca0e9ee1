"""`mandate sink crm`: writes into the CRM store until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

from deploy import keys
from deploy.errors import OperatorError
from deploy.settings import Settings


def run(settings: Settings, *, once: bool = False, skip_lost: bool = False) -> int:
    """Work until told to end, or with `once` until nothing is left to do. 70: infrastructure failed, start it again."""
    from sinks.consume import Stop
    from sinks.crm import serve
    from streams import EXIT_BROKEN
    from streams.access import check_access
    from streams.metrics import serve as serve_metrics
    from streams.metrics import sinks as metrics

    # Public keys alone: a sink on a machine of its own has no private one.
    signers, approvers = keys.signers(settings), keys.approvers(settings)
    try:
        serve_metrics(settings, metrics.CRM)
        check_access(settings)
        with Stop().listening() as stop:
            count = serve(
                settings,
                signers=signers,
                approvers=approvers,
                once=once,
                skip_lost=skip_lost,
                stop=stop,
                ready=lambda line: print(line, flush=True),
            )
    except OperatorError as error:
        print(f"mandate: {error}", file=sys.stderr)
        return EXIT_BROKEN
    print(f"crm sink ended: {count} updates dealt with", flush=True)
    return 0

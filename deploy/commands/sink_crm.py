"""`mandate sink crm`: writes into the CRM store until SIGTERM or Ctrl-C."""

from __future__ import annotations

import json
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

    signers, approvers = _published(settings)
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


def _published(settings: Settings) -> tuple[keys.Jwks, keys.Jwks]:
    """The keys that sign grants, and those that approve policies: an approver can't sign a grant, nor the reverse.

    The published file suffices: a sink on a machine of its own needs no private key.
    """
    signing, approving = keys.jwks_path(settings), keys.approvers_path(settings)
    return (
        json.loads(signing.read_text()) if signing.exists() else keys.jwks(settings),
        json.loads(approving.read_text()) if approving.exists() else keys.approvers(settings),
    )

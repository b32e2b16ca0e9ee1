"""`mandate topics acls`: who may do what, as lines for kafka-acls, as JSON, or made on the cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from deploy import acls
from deploy.settings import Settings

UNWANTED = 3


def run(settings: Settings, *, principals: Sequence[str], agents: Sequence[str], apply: bool, as_json: bool) -> int:
    """Print every permission; with `apply`, make those that are missing. 3: others may do more than the catalogue says.

    Nothing is ever removed: the lines that would do it are printed.
    """
    who = acls.principals(principals, agents)
    wanted = acls.acls(who, driven=settings.clock == "driven")
    if not who.agents:
        print("mandate: no agent is named: --agent NAME, one for each.", file=sys.stderr)
    if apply:
        return _apply(settings, wanted)
    if as_json:
        print(json.dumps([acl._asdict() for acl in wanted], indent=2))
    else:
        print("\n".join(acls.commands(wanted, settings.kafka_bootstrap or "HOST:PORT")))
    return 0


def _apply(settings: Settings, wanted: Sequence[acls.Acl]) -> int:
    from deploy import kafka_admin

    made, others = kafka_admin.ensure_acls(settings, wanted)
    print(f"{len(made)} permissions made, {len(wanted) - len(made)} were there.")
    if not others:
        return 0
    print(
        f"mandate: {len(others)} permissions on Mandate's topics and groups are not the catalogue's:", file=sys.stderr
    )
    print("\n".join(acls.commands(others, settings.bootstrap_servers, remove=True)), file=sys.stderr)
    return UNWANTED

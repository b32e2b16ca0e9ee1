"""What `mandate worker`, `intake` and `sink` take on the command line; each may run under a supervisor."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from deploy.cli_shared import call, epilog, loaded
from deploy.spare import LOADS
from streams import garbage

SUPERVISE = "--supervise"
Supervise = Annotated[
    bool,
    typer.Option(
        SUPERVISE,
        help="Start it again when it crashes: at once, then after growing pauses; not after 10 crashes in 10 minutes.",
    ),
]
Once = Annotated[bool, typer.Option("--once", help="End when everything that is there at its start was dealt with.")]
SkipLost = Annotated[bool, typer.Option("--skip-lost", help="Go on though retention removed records unread.")]
CODES = (
    "[bold]Exit codes[/]: 0 done · 2 wrong settings · 65 an input gives too many dead letters · "
    "70 infrastructure failed: start it again"
)

sink = typer.Typer(help="Bring effects to the stores: the CRM and the audit lake.", no_args_is_help=True)


def _run(module: str, supervise: bool, **arguments: Any) -> None:
    if supervise:
        call("deploy.commands.supervise", words=[word for word in sys.argv[1:] if word != SUPERVISE])
    if module.rpartition(".")[2] in LOADS:
        garbage.wait()
    call(module, settings=loaded(), **arguments)


def worker(supervise: Supervise = False) -> None:
    """Run one control worker: it judges the journal's partitions that it is given.

    Start as many as there are partitions; each keeps its state in a directory of its own. Ends, by SIGTERM or
    Ctrl-C, with everything acknowledged and its partitions handed over; by SIGHUP it keeps them for its session
    timeout, to be started again in its place. A kill loses nothing either.
    """
    _run("deploy.commands.worker", supervise)


def intake(supervise: Supervise = False) -> None:
    """Run one intake: it checks input records, finds their leads and appends them to the journal."""
    _run("deploy.commands.intake", supervise)


@sink.command(
    "crm",
    epilog=epilog(
        "mandate sink crm", "MANDATE_CRM_URL=postgresql+psycopg://crm@db/crm mandate sink crm --supervise", codes=CODES
    ),
)
def sink_crm(once: Once = False, skip_lost: SkipLost = False, supervise: Supervise = False) -> None:
    """Write what grants cover into the CRM store, and answer on crm.results."""
    _run("deploy.commands.sink_crm", supervise, once=once, skip_lost=skip_lost)


@sink.command("audit", epilog=epilog("mandate sink audit", "MANDATE_LAKE_DIR=/lake mandate sink audit", codes=CODES))
def sink_audit(
    once: Once = False,
    skip_lost: SkipLost = False,
    interval: Annotated[float, typer.Option("--interval", min=0.1, help="Seconds between commits of a table.")] = 5.0,
    supervise: Supervise = False,
) -> None:
    """Land journal, decisions and everything after them in Iceberg tables, each record once."""
    _run("deploy.commands.sink_audit", supervise, once=once, commit_interval_s=interval, skip_lost=skip_lost)

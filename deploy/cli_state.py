"""What `mandate state` takes on the command line; its work is in `deploy/commands/state_verify.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli_shared import call, epilog, loaded

state = typer.Typer(help="Check control's rows.", no_args_is_help=True)


@state.callback()
def _state() -> None:
    """Check control's rows."""


@state.command(
    "verify",
    epilog=epilog(
        "mandate state verify --sample 500",
        "mandate state verify --all --partition 2",
        "mandate state verify --state-dir var/state/host-0",
        codes="[bold]Exit codes[/]: 0 the same · 1 something differs, or infrastructure is missing · 2 wrong input · "
        "3 nothing differs, but the journal no longer reaches back far enough for some",
    ),
)
def verify(
    every: Annotated[bool, typer.Option("--all", help="Every lead.")] = False,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, metavar="N", help="Leads of each partition; default: 100.")
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option("--partition", metavar="P", help="Only this one; may be repeated.")
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option("--state-dir", metavar="DIR", help="Compare a worker's directory with the changelog, too."),
    ] = None,
    seed: Annotated[str | None, typer.Option("--seed", help="Take the same sample again.")] = None,
) -> None:
    """Fold leads again from the journal and compare them with control's rows, byte for byte.

    Reads the changelog and the journal; changes nothing, and workers may run meanwhile. Prints each row that differs:
    lead, journal offset, first field that is different. Values may be personal data.
    """
    call(
        "deploy.commands.state_verify",
        settings=loaded(),
        sample=sample,
        every=every,
        partitions=partition or [],
        state_dir=state_dir,
        seed=seed,
    )

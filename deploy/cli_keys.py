"""What `mandate keys` takes on the command line; its work is in `deploy/commands/keys.py`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from deploy.cli_shared import call, epilog, loaded

_MODULE = "deploy.commands.keys"
_CODES = "[bold]Exit codes[/]: 0 done · 2 not possible now, or a file that is no key"
Part = Annotated[
    Literal["control", "approver"],
    typer.Option("--for", help="control: signs grants; approver: approves policies."),
]

keys = typer.Typer(help="Make, show and change the keys that sign grants and approve policies.", no_args_is_help=True)


@keys.command("new", epilog=epilog("mandate keys new", "mandate keys new --for approver", codes=_CODES))
def new(part: Part = "control") -> None:
    """Make the first key, or the next one, and publish its public half. Nothing signs with a next key yet.

    The private half is a file of mode 600 that is never shown; its kid is printed.
    """
    call(_MODULE, settings=loaded(), command="new", part=part)


@keys.command("list", epilog=epilog("mandate keys list", "mandate keys list --json", codes=_CODES))
def list_(as_json: Annotated[bool, typer.Option("--json", help="As JSON, for machines.")] = False) -> None:
    """List every key: whose, its kid, whether it signs, is next or only verifies, and until when."""
    call(_MODULE, settings=loaded(), command="list", as_json=as_json)


@keys.command("rotate", epilog=epilog("mandate keys rotate", "mandate keys rotate --for approver", codes=_CODES))
def rotate(part: Part = "control") -> None:
    """Let the next key sign. Run it when every enforcer has the published keys, then restart the workers.

    The old private key is gone afterwards. Its public half goes on verifying until the longest grant is over.
    """
    call(_MODULE, settings=loaded(), command="rotate", part=part)


@keys.command("retire", epilog=epilog("mandate keys retire", "mandate keys retire --kid KID", codes=_CODES))
def retire(
    part: Part = "control",
    kid: Annotated[str | None, typer.Option("--kid", help="This one, at once: others may hold it.")] = None,
) -> None:
    """Take public keys whose time is over out of what is published; grants signed with them verify no more."""
    call(_MODULE, settings=loaded(), command="retire", part=part, kid=kid)

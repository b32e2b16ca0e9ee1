"""What `mandate intervene` takes on the command line; its work is in `deploy/commands/intervene.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_KINDS = (
    "case_acknowledged, case_resolved (--case) · pause, resume, stop · override (--request, --key) · "
    "override_withdrawn (--override, --key) · refuse, refusal_lifted (--effect)"
)


def intervene(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=_KINDS)] = "",
    lead: Annotated[str, typer.Option("--lead", help="The lead's id.")] = "",
    author: Annotated[str, typer.Option("--author", help="Who you are, as the policy's people: names you.")] = "",
    author_role: Annotated[str, typer.Option("--author-role", help="The role that gives you the authority.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept for review.")] = "",
    case: Annotated[str, typer.Option("--case", metavar="ID", help="The case that is answered.")] = "",
    request: Annotated[str, typer.Option("--request", metavar="ID", help="The refused request.")] = "",
    override: Annotated[str, typer.Option("--override", metavar="ID", help="The override that is taken back.")] = "",
    effects: Annotated[
        list[str] | None, typer.Option("--effect", metavar="E", help="An effect to bar or to free; repeatable.")
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="T", help="ISO 8601 with zone; default: at once.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="T", help="ISO 8601 with zone; for override, refuse.")] = "",
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Your private key (PEM).")] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", metavar="FILE", help="Make a private key; print its public half.")
    ] = None,
) -> None:
    """Act on a lead as a person: answer a case, pause, stop, resume, refuse an effect, override one refusal.

    Prints the intervention's id. An override, and its withdrawal, is signed with your key; the policy holds its public
    half under people:, with the actions that you may override. What is not accepted changes nothing, and the log says
    why: fact intervention.rejected in execution.transitions.
    """
    from deploy.commands.intervene import Wanted, make_key, run
    from deploy.settings import load_settings

    if new_key is not None:
        raise typer.Exit(make_key(new_key))
    wanted = Wanted(
        kind=kind, lead=lead, author=author, author_role=author_role, reason=reason, case=case, request=request,
        override=override, effects=tuple(effects or ()), since=since, until=until, key=key,
    )  # fmt: skip
    raise typer.Exit(run(load_settings(), wanted))

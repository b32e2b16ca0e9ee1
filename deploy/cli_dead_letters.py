"""What `mandate dead-letters` takes on the command line; its work is in `deploy/commands/dead_letters.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli_shared import call, epilog, loaded

Topic = Annotated[str | None, typer.Option("--topic", help="Only those that came from this topic.")]
Code = Annotated[str | None, typer.Option("--code", help="Only those of this code; docs/reason-codes.md has them.")]
Since = Annotated[str | None, typer.Option("--since", metavar="T", help="Only from then on; ISO 8601 with zone.")]
Lead = Annotated[str | None, typer.Option("--lead", help="Only those whose original names this lead.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for machines.")]

_MODULE = "deploy.commands.dead_letters"

dead_letters = typer.Typer(help="Records that could not be taken: look at them, send them again.", no_args_is_help=True)


@dead_letters.command(
    "list",
    epilog=epilog(
        "mandate dead-letters list --summary",
        "mandate dead-letters list --code UNRESOLVED_LEAD --since 2026-11-18T00:00:00Z",
    ),
)
def list_(
    topic: Topic = None,
    code: Code = None,
    since: Since = None,
    lead: Lead = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Oldest first, not newest first.")] = False,
    limit: Annotated[int, typer.Option("--max", min=1, help="At most so many.")] = 50,
    summary: Annotated[bool, typer.Option("--summary", help="Counts by code and topic instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first: id, time, code, place of the original, lead, error."""
    wanted = {"topic": topic, "code": code, "since": since, "lead": lead}
    call(
        _MODULE,
        settings=loaded(),
        command="list",
        wanted=wanted,
        from_start=from_start,
        limit=limit,
        summary=summary,
        as_json=as_json,
    )


@dead_letters.command(
    "show",
    epilog=epilog(
        "mandate dead-letters show 8c1d0b7f-5e1f-5a2f-9d3c-5b6a7e8f9012",
        "mandate dead-letters show ID --json | jq .decoded",
    ),
)
def show(
    letter: Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id, as `list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: what is wrong, what to do, where it came from, and what it holds.

    It may hold personal data, as the original did.
    """
    call(_MODULE, settings=loaded(), command="show", wanted=letter, as_json=as_json)


@dead_letters.command(
    "replay",
    epilog=epilog(
        "mandate dead-letters replay 8c1d0b7f-5e1f-5a2f-9d3c-5b6a7e8f9012",
        "mandate dead-letters replay --all --code UNRESOLVED_LEAD --since 2026-11-18T00:00:00Z --dry-run",
    ),
)
def replay(
    letters: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids, as `list` prints them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that the filters take; needs --code.")] = False,
    topic: Topic = None,
    code: Code = None,
    since: Since = None,
    lead: Lead = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending more than one.")] = False,
) -> None:
    """Send originals again to the topics that they came from, once their cause is mended.

    Same bytes, key and headers, and header mandate-replayed-from. Waits until the broker holds all of them. Events are
    recognised by their own ids, so one that is replayed twice counts once (docs/dead-letters.md says how far).
    """
    wanted = {"topic": topic, "code": code, "since": since, "lead": lead}
    call(
        _MODULE,
        settings=loaded(),
        command="replay",
        ids=letters or [],
        every=every,
        wanted=wanted,
        dry_run=dry_run,
        yes=yes,
    )

"""What `mandate topics` takes on the command line; its work is in `deploy/commands/topics*.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli_shared import call, epilog, loaded

topics = typer.Typer(invoke_without_command=True)


@topics.callback(epilog=epilog("mandate topics", "mandate topics --json | jq", "mandate topics --create"))
def topics_(
    context: typer.Context,
    create: Annotated[bool, typer.Option("--create", help="Create missing topics and register the schemas.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The catalogue as JSON.")] = False,
) -> None:
    """Print the dataflow and every topic: key, schema, partitions, retention, who writes it, who reads it."""
    if context.invoked_subcommand is None:
        call("deploy.commands.topics", settings=loaded(), create=create, as_json=as_json)


@topics.command(
    "acls",
    epilog=epilog(
        "mandate topics acls --agent closer-1 --agent booker-1 > acls.sh",
        "mandate topics acls --principal control=CN=control,O=Example --agent closer-1 --json",
        "mandate topics acls --agent closer-1 --apply",
        codes="[bold]Exit codes[/]: 0 done · 1 the cluster refused · 2 wrong principals · "
        "3 others may do more than the catalogue says",
    ),
)
def acls(
    agents: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="An agent's user; one for each agent.")
    ] = None,
    principals: Annotated[
        list[str] | None,
        typer.Option("--principal", metavar="PART=NAME", help="A part's user; mandate-PART when not given."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Make the missing ones; needs a super user's login.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for machines.")] = False,
) -> None:
    """Print who may do what on the cluster, from the catalogue, as lines for kafka-acls.

    Parts are platform (perception), human, operator, auditor, data-team, intake, control, crm-sink, audit-sink and
    setup (makes the topics). With --apply nothing is removed: permissions beside these are told, with the lines that
    would remove them.
    """
    call(
        "deploy.commands.topics_acls",
        settings=loaded(),
        principals=principals or [],
        agents=agents or [],
        apply=apply,
        as_json=as_json,
    )

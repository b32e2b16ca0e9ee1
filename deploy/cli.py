"""The `mandate` command. Each command's work is in `deploy/commands/<name>.py`, imported only when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.cli_dead_letters import dead_letters
from deploy.cli_intervene import intervene
from deploy.cli_keys import keys
from deploy.cli_run import CODES, intake, sink, worker
from deploy.cli_shared import EXIT_CODES, LOOK, RUN, TRY, call, epilog, loaded
from deploy.cli_state import state
from deploy.cli_topics import topics

INTERRUPTED = 130

CONFIGURED = "Settings come from MANDATE_* variables and mandate.toml; [bold]mandate settings[/] lists them."

app = typer.Typer(
    name="mandate",
    help="No agent acts without a mandate: the execution control plane for multi-agent AI sales.\n\n" + CONFIGURED,
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
policy = typer.Typer(help="Test a policy bundle, put it into force.", no_args_is_help=True)
app.add_typer(sink, name="sink", rich_help_panel="Run the parts")
app.add_typer(policy, name="policy", rich_help_panel="Run the parts")
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=LOOK)
app.add_typer(state, name="state", rich_help_panel=LOOK)
app.add_typer(topics, name="topics", rich_help_panel=LOOK)
app.add_typer(keys, name="keys", rich_help_panel=RUN)

Form = Literal["table", "json", "csv"]


def _say_version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"mandate {version('mandate')}")
    except PackageNotFoundError:
        typer.echo("mandate: its sources, without an installed package that has a version")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What `mandate` takes before a command."""


@app.command(
    rich_help_panel=TRY,
    epilog=epilog("mandate demo", "MANDATE_KAFKA_PORT=0 MANDATE_REGISTRY_PORT=0 mandate demo"),
)
def demo() -> None:
    """Run the main job on the sample corpus and sum up what became of it.

    Starts the local stack, plays some hours of calls in about a minute through a driven clock, writes
    var/demo/summary.json and stops what it started. Exits 1 when a request got no decision or the audit lake lacks
    a record.
    """
    call("deploy.demo", settings=loaded())


@app.command(rich_help_panel=TRY, epilog=epilog("mandate up", "MANDATE_KAFKA_PORT=29092 mandate up"))
def up() -> None:
    """Start Kafka and the schema registry on loopback, with keys, topics and schemas, and leave them running.

    With MANDATE_KAFKA_BOOTSTRAP and MANDATE_REGISTRY_URL set nothing is started: topics and schemas are made on that
    cluster, and no keys (mandate keys new). Repeating it is harmless. Ctrl-C stops what it had started.
    """
    call("deploy.commands.up", settings=loaded())


@app.command(rich_help_panel=TRY, epilog=epilog("mandate down"))
def down() -> None:
    """Stop the local stack. Its data stays in data_dir; `make clean` removes it."""
    call("deploy.commands.down", settings=loaded())


@app.command(
    rich_help_panel=LOOK,
    epilog=epilog("mandate status", codes=EXIT_CODES + " · 3 broker or registry does not answer"),
)
def status() -> None:
    """Say whether broker and registry answer, and which processes they are."""
    call("deploy.commands.status", settings=loaded())


@app.command(rich_help_panel=LOOK, epilog=epilog("mandate settings", "MANDATE_CONFIG=prod.toml mandate settings"))
def settings() -> None:
    """List every setting with its value in force and its meaning; secrets are starred."""
    call("deploy.commands.settings", settings=loaded())


@app.command(
    rich_help_panel=TRY,
    epilog=epilog(
        "mandate perceive --provider twilio status.txt",
        "mandate perceive --provider deepgram results.json | jq .type",
    ),
)
def perceive(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Payloads; a file holds one or a list.")],
    provider: Annotated[str, typer.Option("--provider", "-p", help="twilio, telnyx or deepgram.")],
) -> None:
    """Turn provider payloads into canonical events, printed as JSON lines. Needs no broker.

    JSON, and for Twilio form-encoded bodies. A payload that is not the provider's exits 2 and says why.
    """
    call("deploy.commands.perceive", provider=provider, files=files)


@app.command(
    rich_help_panel=TRY,
    epilog=epilog(
        "mandate decide journal.jsonl",
        "mandate decide journal.jsonl --policy my-bundle | jq 'select(.topic==\"permission.decisions\")'",
    ),
)
def decide(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Input records, one a line; - is stdin.")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="BUNDLE", help="Policy bundle; default: the packaged one."),
    ] = None,
) -> None:
    """Run intake and the fold over a file, with no broker, and print every output record as a JSON line.

    An input line is {"topic": ..., "at": "ISO time of the journal", "lead_id": ..., "value": {...}}; an output line
    {"topic": ..., "value": ...}. The same input prints the same bytes, always. A line that does not fit its schema
    is printed as a dead.letters record and the run goes on.
    """
    call("deploy.commands.decide", settings=loaded(), file=file, policy=policy)


app.command(
    rich_help_panel=RUN,
    epilog=epilog("mandate worker", "MANDATE_STATE_DIR=/data/w1 mandate worker --supervise", codes=CODES),
)(worker)
app.command(rich_help_panel=RUN, epilog=epilog("mandate intake", "mandate intake --supervise", codes=CODES))(intake)
app.command(
    rich_help_panel=RUN,
    epilog=epilog(
        "mandate intervene pause --lead lead-7 --author ann --author-role operator --reason 'a lawyer wrote'",
        "mandate intervene override --lead lead-7 --request request-9 --author carol --author-role executive "
        "--reason 'a good customer' --key carol.pem",
        "mandate intervene --new-key carol.pem",
    ),
)(intervene)


@app.command(
    rich_help_panel=LOOK,
    epilog=epilog(
        "mandate query 'select verdict, count(*) from permission_decisions group by all'",
        "mandate query --format csv 'from escalation_cases' > cases.csv",
    ),
)
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="DuckDB SQL; each audited topic is a table.")],
    form: Annotated[Form, typer.Option("--format", "-f", help="How to print the rows.")] = "table",
) -> None:
    """Ask the audit lake, in SQL. A table is named as its topic, with _ for the dot; a column named at is "at"."""
    call("deploy.commands.query", settings=loaded(), sql=sql, form=form)


@app.command(
    rich_help_panel=LOOK,
    epilog=epilog(
        "mandate tail",
        "mandate tail permission.decisions --from-start",
        "mandate tail --lead lead-7 --max 20",
    ),
)
def tail(
    topics: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC]...", help="Default: all outputs.")] = None,
    lead: Annotated[str | None, typer.Option("--lead", help="Only this lead's records.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="From the first record, not from now.")] = False,
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Stop after this many records.")] = None,
    until_idle: Annotated[
        float | None,
        typer.Option(
            "--until-idle", min=0, metavar="SECONDS", help="Stop when nothing came for so long; 0: at the present end."
        ),
    ] = None,
) -> None:
    """Follow topics as JSON lines, decoded. Ends with Ctrl-C."""
    call(
        "deploy.commands.tail",
        settings=loaded(),
        topics=topics or [],
        lead=lead,
        from_start=from_start,
        limit=limit,
        until_idle=until_idle,
    )


@app.command(
    rich_help_panel=LOOK,
    epilog=epilog(
        "mandate explain 8c1d0b7f5e1f4a2f9d3c5b6a7e8f9012",
        "mandate explain request-7 --rederive",
        "mandate explain request-7 --journal journal.jsonl --json | jq .criteria",
    ),
)
def explain(
    decision: Annotated[str, typer.Argument(metavar="DECISION_ID", help="The decision's id, or its request's.")],
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", help="Read a file of `mandate tail` instead of the cluster."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The explanation as JSON.")] = False,
    rederive: Annotated[
        bool, typer.Option("--rederive", help="Compare the decision with what its journal gives; exit 1 if not equal.")
    ] = False,
) -> None:
    """Explain a decision: verdict, criteria, reasons, facts with the words behind them, and what would change it.

    Folds the lead's journal again up to the decision. A grant is never printed, only what it claims.
    """
    call(
        "deploy.commands.explain",
        settings=loaded(),
        wanted=decision,
        journal=journal,
        print_json=as_json,
        rederive=rederive,
    )


@policy.command("activate", epilog=epilog("mandate policy activate my-bundle"))
def policy_activate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Directory of the policy bundle.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the log.")] = "",
    revision: Annotated[
        int | None, typer.Option("--revision", min=1, help="Default: the highest seen plus one.")
    ] = None,
) -> None:
    """Check a policy bundle, sign it with the approver key and append its activation to the log."""
    call("deploy.commands.policy_activate", settings=loaded(), bundle=bundle, reason=reason, revision=revision)


@policy.command(
    "test",
    epilog=epilog(
        "mandate policy test tests/scenarios",
        "mandate policy test my-scenarios --policy my-bundle -k discount",
        codes="[bold]Exit codes[/]: 0 all hold · 1 a scenario fails · 2 a scenario or the bundle can't be read",
    ),
)
def policy_test(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory (or one file) of scenarios.")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="BUNDLE", help="Policy bundle; default: the packaged one."),
    ] = None,
    text: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only scenarios with this in file or name.")] = "",
) -> None:
    """Run scenarios, given / when / then in YAML, against a policy bundle. Needs no broker.

    Prints a line a file, and for each failure what was expected, what came, why, and what happened.
    docs/scenarios.md says how to write one.
    """
    call("deploy.commands.policy_test", directory=directory, policy=policy, text=text)


Bundle = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="Directory of a policy bundle; default: the packaged one.")
]


@policy.command(
    "lint",
    epilog=epilog(
        "mandate policy lint",
        "mandate policy lint my-bundle",
        codes="[bold]Exit codes[/]: 0 no problems · 1 problems, a line each · 2 not a directory",
    ),
)
def policy_lint(directory: Bundle = None) -> None:
    """Tell everything that is wrong with a policy bundle: file, line, part and a sentence.

    Unknown facts and names, type errors in conditions, rules that never or always fire, contradictions between rules
    and roles, defers without end, irreversible actions without finality, permits that rest on nothing.
    A warning is worth a look and no problem.
    """
    call("deploy.commands.policy_lint", directory=directory)


@policy.command(
    "explain",
    epilog=epilog(
        "mandate policy explain offer_discount --role closing",
        "mandate policy explain initiate_contact --role booking --channel voice my-bundle",
    ),
)
def policy_explain(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="An action of the bundle.")],
    role: Annotated[str, typer.Option("--role", "-r", help="The role that asks for it.")],
    directory: Bundle = None,
    channel: Annotated[str | None, typer.Option("--channel", "-c", help="Only what counts on this channel.")] = None,
) -> None:
    """Say in words what it takes for a role to be permitted an action, and what a permit brings."""
    call("deploy.commands.policy_explain", action=action, role=role, directory=directory, channel=channel)


@policy.command("schema", epilog=epilog("mandate policy schema > bundle.schema.json"))
def policy_schema() -> None:
    """Print the JSON Schema of a bundle's files, for editors that complete and check YAML."""
    call("deploy.commands.policy_schema")


def main() -> None:
    """The console script: what an operator must know goes to stderr in a sentence, never as a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        code = getattr(error, "exit_code", None)  # an error that is worded for an operator has one
        if not isinstance(code, int):
            _print_defect(error)
            sys.exit(1)
        print(f"mandate: {error}", file=sys.stderr)
        sys.exit(code)


def _print_defect(error: Exception) -> None:
    """Where it happened, and what kind of error: not its text, which may hold what a record held."""
    import traceback

    from deploy.errors import told

    print("".join(traceback.format_tb(error.__traceback__)) + f"mandate: a defect: {told(error)}", file=sys.stderr)


if __name__ == "__main__":
    main()

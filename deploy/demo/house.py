"""One demo from start to end: a world of its own, the parts, the play, the count; then all of it ends."""

import asyncio
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from agents import AgentConfig, AsyncMandateClient, MandateUnavailable
from deploy import keys
from deploy.demo.cast import Lead, make_cast
from deploy.demo.gather import gather
from deploy.demo.office import Tally
from deploy.demo.places import Places
from deploy.demo.play import Play
from deploy.demo.processes import Company
from deploy.demo.quiet import wait_for_policy, wait_until_quiet
from deploy.demo.show import Progress, show
from deploy.demo.summary import Outcome, Stores, conclude, write
from deploy.demo.wire import PlayStalledError, Wire
from deploy.demo.world import alone, cluster, own_settings, prepare
from deploy.settings import Settings
from schemas.codec import Codec
from schemas.records import TimeUs
from streams.registry import connect

FAILED = 1
_ANSWER_WITHIN_S = 60.0


def run(settings: Settings, cast: Sequence[Lead] | None = None) -> int:
    """The whole demo; 0 when everything that must hold held. Whatever it started ends, however it ends.

    cast: the leads; None: all of the corpus.
    """
    own, tally = own_settings(settings), Tally()
    leads = make_cast() if cast is None else list(cast)
    with Progress(tally) as progress, ExitStack() as ends:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends in order, as by Ctrl-C
        ends.callback(signal.signal, signal.SIGTERM, before)
        ends.enter_context(alone(own.data_dir))
        company = Company(own.data_dir / "logs")
        ends.callback(company.stop)
        threading.Thread(target=_import_sinks, name="imports", daemon=True).start()
        ends.enter_context(cluster(own, progress))
        ends.callback(company.stop)  # before the cluster that the parts work on
        progress.say(prepare(own))
        company.go(own)
        codec, places = connect(own), Places(own)
        wait_for_policy(places, company.check)
        progress.say("Intake, control, CRM sink and audit sink are ready. The play begins.")
        ended_at = asyncio.run(_play(own, codec, leads, tally, company, progress))
        progress.say("Every script has ended. Waiting until everything is answered, written and committed.")
        wait_until_quiet(places, company.check)
        company.finish(own)
        progress.say("Counting what the topics and stores hold.")
        outcome = _count(own, codec, places, leads, tally, progress.elapsed_s, ended_at)
    write(outcome, own.data_dir / "summary.json")
    show(outcome, _ways_on(own))
    return FAILED if outcome.faults else 0


async def _play(
    own: Settings, codec: Codec, cast: Sequence[Lead], tally: Tally, company: Company, progress: Progress
) -> TimeUs:
    wire = Wire(own, codec, tally, company.check)
    with wire.open():
        play = Play(wire, cast, tally, progress.moved)
        config = AgentConfig.from_settings(
            own,
            agent_id="demo",
            role="booking",
            jwks=keys.jwks_path(own),
            now=play.now,
            answer_timeout_s=_ANSWER_WITHIN_S,
        )
        try:
            async with AsyncMandateClient(config) as client:
                await play.give(client)
        except MandateUnavailable as lost:
            raise PlayStalledError(f"The agents lost Mandate: {lost}.", f"See {own.data_dir / 'logs'}.") from lost
        return play.now()


# --- the count
def _import_sinks() -> None:
    """pyiceberg and pyarrow take seconds to import; the count needs them at the end."""
    import sinks.complete  # noqa: F401


def _count(
    own: Settings, codec: Codec, places: Places, cast: Sequence[Lead], tally: Tally, wall_s: float, ended_at: TimeUs
) -> Outcome:
    from sinks.complete import completeness

    evidence, counted = gather(own, codec, places)
    stores = Stores(crm_updates=_applied(own), audit=completeness(own))
    people = {str(lead.lead_id): lead for lead in cast}
    return conclude(evidence, counted, stores, tally, people, wall_s, ended_at)


def _applied(own: Settings) -> int:
    """Writes that the CRM store says it applied."""
    from sqlalchemy import create_engine, func, select

    from schemas.records import CrmWriteResult
    from sinks.crm_tables import updates

    engine = create_engine(own.crm_url)
    try:
        with engine.connect() as connection:
            applied = updates.c.result == CrmWriteResult.APPLIED.value
            return int(connection.execute(select(func.count()).select_from(updates).where(applied)).scalar_one())
    finally:
        engine.dispose()


def _ways_on(own: Settings) -> list[str]:
    where = own.data_dir
    short = where.relative_to(Path.cwd()) if where.is_relative_to(Path.cwd()) else where
    tail = "mandate tail --lead opt-out-001 --from-start"
    return [
        "",
        f"[bold]Look further[/]  [cyan]export MANDATE_DATA_DIR={short} MANDATE_CLOCK=driven[/]",
        "  [cyan]mandate query 'select verdict, count(*) from permission_decisions group by all'[/]   the audit lake",
        f"  [cyan]{f'mandate up; {tail}; mandate down' if own.is_local else tail}[/]   one lead in the topics",
        f"  {short}/summary.json, {short}/crm.sqlite, {short}/lake, {short}/logs",
        "",
    ]

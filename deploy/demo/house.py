"""One demo from start to end: a stack and stores of its own, the parts, the play, the count; then all of it ends."""

import asyncio
import fcntl
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agents import AgentConfig, AsyncMandateClient
from deploy import kafka_admin, keys
from deploy.demo.cast import Lead, make_cast
from deploy.demo.gather import gather
from deploy.demo.office import Tally
from deploy.demo.play import Play
from deploy.demo.processes import Company
from deploy.demo.quiet import wait_until_quiet
from deploy.demo.show import Progress, StackProgress, show
from deploy.demo.summary import Outcome, Stores, conclude, write
from deploy.demo.wire import Wire
from deploy.errors import OperatorError
from deploy.local import stack
from deploy.settings import PACKAGED_POLICY, Settings, load_settings
from schemas.codec import Codec
from schemas.records import TimeUs
from streams.registry import connect

FAILED = 1
_ANSWER_WITHIN_S = 60.0
# Directories and files of a run; whatever else lies there stays.
_LEFT_BY_A_RUN = ("state", "lake", "logs", "keys", "crm.sqlite", "crm.sqlite-wal", "crm.sqlite-shm", "summary.json")


class DemoError(OperatorError):
    """The demo can't run here. The operator does what the message says."""


def run(settings: Settings) -> int:
    """The whole demo; 0 when everything that must hold held. Whatever it started ends, however it ends."""
    tally = Tally()
    with Progress(tally) as progress, ExitStack() as ends:
        own = _own(settings)
        ends.enter_context(_alone(own.data_dir))
        _clear(own.data_dir)
        company = Company(own.data_dir / "logs")
        ends.callback(company.stop)
        threading.Thread(target=_import_sinks, name="imports", daemon=True).start()
        own = ends.enter_context(_stack(own, progress))
        ends.callback(company.stop)  # before the stack, which is what they work on
        _prepare(own, progress)
        company.go(own)
        progress.say("Intake, control, CRM sink and audit sink are ready. The play begins.")
        codec = connect(own)
        cast = make_cast()
        ended_at = asyncio.run(_play(own, codec, cast, tally, company, progress))
        progress.say("Every script has ended. Waiting until everything is answered, written and committed.")
        wait_until_quiet(own, company.check)
        company.stop()
        progress.say("Counting what the topics and stores hold.")
        outcome = _count(own, codec, cast, tally, progress, ended_at)
    write(outcome, own.data_dir / "summary.json")
    show(outcome, _ways_on(own))
    return FAILED if outcome.faults else 0


# --- what it runs on
def _own(settings: Settings) -> Settings:
    """Settings of the demo's own world: the same cluster and ports, its own directory and stores, a driven clock."""
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    stores = ("crm_url", "lake_dir", "lake_catalog_url", "state_dir", "signing_key_path", "approver_key_path")
    for name in stores:
        del given[name]
    data_dir = (settings.data_dir / "demo").resolve()
    own = {"data_dir": data_dir, "clock": "driven", "policy_bundle": PACKAGED_POLICY, "state_dir": None}
    paths = {
        "crm_url": f"sqlite:///{data_dir / 'crm.sqlite'}",
        "lake_dir": data_dir / "lake",
        "lake_catalog_url": f"sqlite:///{data_dir / 'lake' / 'catalog.sqlite'}",
        "signing_key_path": data_dir / "keys" / "signing.pem",
        "approver_key_path": data_dir / "keys" / "approver.pem",
    }
    return load_settings(**(given | own | paths))


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """One demo at a time in a directory; the system frees the lock of a killed one."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "demo.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"Another demo runs in {data_dir}.", "Wait for its end, or set MANDATE_DATA_DIR to another directory."
            ) from None
        yield


def _clear(data_dir: Path) -> None:
    for name in _LEFT_BY_A_RUN:
        path = data_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _stack(own: Settings, progress: Progress) -> Iterator[Settings]:
    """Broker and registry: fresh ones on loopback, or the configured cluster, which must be unused."""
    if not own.is_local:
        progress.say(f"Using the cluster {own.bootstrap_servers}; nothing is started here.")
        yield own
        return
    running = stack.start(own, StackProgress(progress), fresh=True)
    try:
        yield own
    finally:
        progress.say("Stopping Kafka and the registry.")
        if running.started:
            stack.stop(own)


def _prepare(own: Settings, progress: Progress) -> None:
    """Keys, topics, schemas and the policy in force."""
    from deploy.commands import policy_activate

    keys.ensure_keys(own)
    created = kafka_admin.ensure_topics(own)
    if not own.is_local:
        _refuse_used(own)
    kafka_admin.register_schemas(own)
    codec = connect(own)
    bundle = policy_activate.load_bundle(own.policy_bundle)
    activation = policy_activate.sign(own, bundle, 1, "mandate demo", "mandate demo")
    policy_activate._append(own, codec, activation)
    progress.say(f"{len(created)} topics made, schemas registered, policy {bundle.version} activated.")


def _refuse_used(own: Settings) -> None:
    """The demo counts whole topics, and its journal lies in the past: on topics in use it would harm and miscount."""
    from confluent_kafka import KafkaException

    from deploy.demo.quiet import ends
    from schemas.catalogue import TOPICS
    from streams.kafka import make_consumer

    consumer = make_consumer(own, "mandate-demo-check")
    try:
        used = [name for name in TOPICS if any(high > 0 for _, high in ends(consumer, name).values())]
    except KafkaException as error:
        raise DemoError(f"The cluster's topics can't be looked at ({error.args[0].str()}).", "Check its address.") from error
    finally:
        consumer.close()
    if used:
        raise DemoError(
            f"{len(used)} topics of {own.bootstrap_servers} hold records already, {used[0]} among them;"
            " the demo counts whole topics and plays in a journal time of its own.",
            "Point it at a cluster with fresh topics, or unset MANDATE_KAFKA_BOOTSTRAP and MANDATE_REGISTRY_URL.",
        )


def _import_sinks() -> None:
    """pyiceberg and pyarrow take seconds to import; the count needs them at the end."""
    import sinks.audit  # noqa: F401


# --- the play
async def _play(
    own: Settings, codec: Codec, cast: list[Lead], tally: Tally, company: Company, progress: Progress
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
        async with AsyncMandateClient(config) as client:
            await play.give(client)
        return play.now()


# --- the count
def _count(
    own: Settings, codec: Codec, cast: list[Lead], tally: Tally, progress: Progress, ended_at: TimeUs
) -> Outcome:
    from sinks.audit import completeness, serve
    from sinks.consume import Stop

    # The audit sink flushed what it had read when it was told to end; this lands what was left.
    serve(own, once=True, stop=Stop(), ready=lambda _: None)
    evidence, counted = gather(own, codec)
    stores = Stores(crm_updates=_applied(own), audit=completeness(own))
    return conclude(
        evidence, counted, stores, tally, {lead.lead_id: lead for lead in cast}, progress.elapsed_s, ended_at
    )


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
    return [
        "",
        f"[bold]Look further[/]  [cyan]export MANDATE_DATA_DIR={short} MANDATE_CLOCK=driven[/]",
        "  [cyan]mandate query 'select verdict, count(*) from permission_decisions group by all'[/]   the audit lake, offline",
        "  [cyan]mandate up; mandate tail --lead opt-out-001 --from-start; mandate down[/]   one lead's way through the topics",
        f"  {short}/summary.json, {short}/crm.sqlite, {short}/lake, {short}/logs",
        "",
    ]



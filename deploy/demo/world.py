"""The demo's own world: its directory, its stores, its broker and registry, or a cluster that nobody has used."""

import fcntl
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from deploy import kafka_admin, keys
from deploy.commands import policy_activate
from deploy.demo.places import Places
from deploy.demo.show import Progress, StackProgress
from deploy.demo.times import OPENING
from deploy.errors import OperatorError
from deploy.local import stack
from deploy.settings import PACKAGED_POLICY, Settings, load_settings
from processors.policy import load_bundle
from schemas.catalogue import TOPIC_OF, TOPICS
from schemas.headers import cloud_event
from schemas.records import ClockReading, PolicyActivation
from streams.kafka import make_producer
from streams.registry import connect
from streams.sender import Sender

# What a run leaves; whatever else lies there stays.
_LEFT_BY_A_RUN = ("state", "lake", "logs", "keys", "crm.sqlite", "crm.sqlite-wal", "crm.sqlite-shm", "summary.json")
_FOREVER = "-1"


class DemoError(OperatorError):
    """The demo can't run here. The operator does what the message says."""


def own_settings(settings: Settings) -> Settings:
    """The same cluster and ports, but its own directory and stores, the packaged policy, and a driven clock."""
    data_dir = (settings.data_dir / "demo").resolve()
    own = {
        "data_dir": data_dir,
        "state_dir": None,
        "crm_url": f"sqlite:///{data_dir / 'crm.sqlite'}",
        "lake_dir": data_dir / "lake",
        "lake_catalog_url": f"sqlite:///{data_dir / 'lake' / 'catalog.sqlite'}",
        "signing_key_path": data_dir / "keys" / "signing.pem",
        "signing_key": None,
        "jwks_path": data_dir / "keys" / "jwks.json",
        "approver_key_path": data_dir / "keys" / "approver.pem",
        "approver_key": None,
        "approvers_path": data_dir / "keys" / "approvers.json",
        "policy_bundle": PACKAGED_POLICY,
        "clock": "driven",
        "tick_interval_s": 1.0,
    }
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    return load_settings(**(given | own))


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """One demo at a time in a directory, cleared of what the last one left. The system frees a killed one's lock."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        handle = (data_dir / "demo.lock").open("w")
    except OSError as error:
        raise DemoError(f"{data_dir} can't be written ({error.strerror}).", "Set MANDATE_DATA_DIR.") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"Another demo runs in {data_dir}.", "Wait for its end, or set MANDATE_DATA_DIR to another directory."
            ) from None
        _clear(data_dir)
        yield


def _clear(data_dir: Path) -> None:
    for name in _LEFT_BY_A_RUN:
        path = data_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def cluster(own: Settings, progress: Progress) -> Iterator[None]:
    """Broker and registry: fresh ones on loopback, or the configured ones, of which nothing is started or stopped."""
    if not own.is_local:
        progress.say(f"Using the cluster {own.bootstrap_servers}; nothing is started here.")
        yield
        return
    stack.start(own, StackProgress(progress), fresh=True)
    try:
        yield
    finally:
        progress.say("Stopping Kafka and the registry.")
        stack.stop(own)


def prepare(own: Settings) -> str:
    """Keys, topics, schemas, the clock and the policy; says what it made."""
    keys.ensure_keys(own)
    created = kafka_admin.ensure_topics(own)
    if not own.is_local:
        _refuse_used(own, [name for name in TOPICS if name not in created])
    kafka_admin.register_schemas(own)
    policy = load_bundle(own.policy_bundle)
    _begin(own, ClockReading(at=OPENING), policy_activate.sign(own, policy, 1, "for the demo", "mandate demo"))
    return f"{len(created)} topics made, schemas registered, policy {policy.version} activated."


def _begin(own: Settings, reading: ClockReading, activation: PolicyActivation) -> None:
    """The first reading of the clock, then the policy: nothing is judged without one."""
    codec, sender, at = connect(own), Sender(make_producer(own)), reading.at
    sender.send(TOPIC_OF[ClockReading], codec.encode(reading), key=None, timestamp_ms=at // 1000)
    sender.flush()
    name = activation.activation_id
    headers = cloud_event(activation, id=name, source="/mandate/demo", subject="", at=at)
    topic = TOPIC_OF[PolicyActivation]
    sender.send(topic, codec.encode(activation), key=name, headers=headers, timestamp_ms=at // 1000)
    sender.flush()
    sender.producer.close()


def _refuse_used(own: Settings, existed: Sequence[str]) -> None:
    """The demo counts whole topics, and its records bear times of the past."""
    where = f"on {own.bootstrap_servers}"
    remedy = "Delete Mandate's topics there, or unset MANDATE_KAFKA_BOOTSTRAP and MANDATE_REGISTRY_URL."
    used = [name for name, count in Places(own).held(existed).items() if count]
    if used:
        raise DemoError(f"{len(used)} topics {where} hold records already, {used[0]} among them.", remedy)
    short_lived = _short_lived(own, [name for name in existed if "delete" in TOPICS[name].cleanup])
    if short_lived:
        raise DemoError(f"Topic {short_lived} {where} would soon delete the demo's records, which are old.", remedy)


def _short_lived(own: Settings, topics: Sequence[str]) -> str:
    """A topic that deletes by age; empty when there is none."""
    if not topics:
        return ""
    admin = AdminClient({**own.client_config(), "log_level": 0})
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    try:
        for resource, answer in admin.describe_configs(asked, request_timeout=15.0).items():
            if answer.result()["retention.ms"].value != _FOREVER:
                return str(resource.name)
    except KafkaException as error:
        why = f"The topics can't be described ({error.args[0].str()})."
        raise DemoError(why, "Check this user's rights.") from error
    return ""

"""Topics and subjects on the real broker and registry: made once, and differences told."""

from __future__ import annotations

import json

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from deploy import kafka_admin
from deploy.kafka_admin import ClusterError
from deploy.schema_registry import RegistryError, SchemaRegistry
from deploy.settings import Settings, load_settings
from schemas import records
from schemas.catalogue import TOPICS, Topic

pytestmark = pytest.mark.broker


def _catalogue(name: str, **changed: object) -> dict[str, Topic]:
    given: dict[str, object] = {"doc": "d", "key": "k", "value": records.Tick, "writers": (), "readers": ()}
    return {name: Topic(name=name, **{**given, **changed})}  # type: ignore[arg-type]


def test_every_topic_of_the_catalogue_exists_as_it_says(stack: Settings) -> None:
    assert kafka_admin.ensure_topics(stack) == []
    admin = AdminClient(stack.client_config())
    topics = admin.list_topics(timeout=10).topics
    for name, topic in TOPICS.items():
        assert len(topics[name].partitions) == (4 if topic.partitions == "P" else topic.partitions)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in TOPICS]
    for resource, future in admin.describe_configs(resources).items():
        config = {key: entry.value for key, entry in future.result().items()}
        wanted = TOPICS[resource.name].config
        assert {key: config[key] for key in wanted} == dict(wanted)


def test_another_number_of_partitions_is_told(stack: Settings) -> None:
    kafka_admin.ensure_topics(stack, _catalogue("admin.partitions", partitions=2))
    with pytest.raises(ClusterError, match=r"admin\.partitions has 2 partitions, but 3"):
        kafka_admin.ensure_topics(stack, _catalogue("admin.partitions", partitions=3))


def test_another_cleanup_policy_is_told(stack: Settings) -> None:
    kafka_admin.ensure_topics(stack, _catalogue("admin.cleanup"))
    with pytest.raises(ClusterError, match=r"cleanup\.policy=delete, but the catalogue says compact"):
        kafka_admin.ensure_topics(stack, _catalogue("admin.cleanup", cleanup="compact"))


def test_a_driven_clock_keeps_records_of_any_age(stack: Settings) -> None:
    driven = stack.model_copy(update={"clock": "driven"})
    kafka_admin.ensure_topics(driven, _catalogue("admin.driven"))
    resource = ConfigResource(ResourceType.TOPIC, "admin.driven")
    admin = AdminClient(stack.client_config())
    (future,) = admin.describe_configs([resource]).values()
    assert future.result()["retention.ms"].value == "-1"


def test_more_replicas_than_brokers_is_told(stack: Settings) -> None:
    with pytest.raises(ClusterError, match="MANDATE_REPLICATION_FACTOR"):
        kafka_admin.ensure_topics(stack.model_copy(update={"replication_factor": 3}), _catalogue("admin.replicas"))


def test_schemas_are_registered_once_with_their_level(stack: Settings) -> None:
    ids = kafka_admin.register_schemas(stack)
    assert kafka_admin.register_schemas(stack) == ids
    assert set(ids) == {topic.value_schema for topic in TOPICS.values() if topic.value_schema}
    with SchemaRegistry(stack.registry_config()) as registry:
        assert registry.compatibility("permission.decisions-value") == "FULL_TRANSITIVE"
        assert json.loads(registry.schema(ids["Decision"]))["name"].endswith("Decision")
        with pytest.raises(KeyError):
            registry.schema(999_999)


def test_an_incompatible_schema_is_refused_and_nothing_registered(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = _catalogue("admin.evolving") | _catalogue("admin.new")
    kafka_admin.register_schemas(stack, {"admin.evolving": catalogue["admin.evolving"]})
    changed = json.dumps({"type": "record", "name": "Tick", "namespace": "mandate", "fields": [
        {"name": "not_there_before", "type": "string"}]})  # fmt: skip
    monkeypatch.setattr(kafka_admin, "schema_json", lambda name: changed)
    with pytest.raises(ClusterError, match=r"Tick can't follow what admin\.evolving-value holds"):
        kafka_admin.register_schemas(stack, catalogue)
    with SchemaRegistry(stack.registry_config()) as registry:
        assert "admin.new-value" not in registry.subjects()


def test_an_unreachable_cluster_or_registry_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_admin, "TIMEOUT_S", 0.5)
    settings = load_settings(kafka_bootstrap="127.0.0.1:1", registry_url="http://127.0.0.1:1")
    with pytest.raises(ClusterError, match="does not answer"):
        kafka_admin.ensure_topics(settings)
    with pytest.raises(RegistryError, match="does not answer"):
        kafka_admin.register_schemas(settings)

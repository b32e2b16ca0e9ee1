"""Topics and subjects as the catalogue says: made when missing, never changed behind anybody's back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from deploy.acls import Acl, touches
from deploy.errors import OperatorError
from deploy.schema_registry import SchemaRegistry
from deploy.settings import Settings
from schemas.catalogue import TOPICS, Topic
from schemas.codec import schema_json

TIMEOUT_S = 30.0
KEEP_FOREVER = "-1"
CALLS_AT_ONCE = 8
_ANY: Any = None  # what the client takes for "any name"; its stub does not


class ClusterError(OperatorError):
    """The cluster is not as the catalogue says. The operator compares what is named and decides which is right."""


def ensure_topics(settings: Settings, catalogue: Mapping[str, Topic] = TOPICS) -> list[str]:
    """Create the catalogue's topics that are missing; returns their names. Idempotent.

    A topic with another number of partitions or another cleanup policy is a ClusterError: leads would land in other
    partitions, or changelogs lose rows. Other differences, such as retention, are the operator's right.
    """
    admin = _admin(settings)
    existing = _existing(admin)
    new = [topic for name, topic in catalogue.items() if name not in existing]
    _compare(admin, settings, {name: topic for name, topic in catalogue.items() if name in existing}, existing)
    return _create(admin, settings, new)


def register_schemas(settings: Settings, catalogue: Mapping[str, Topic] = TOPICS) -> dict[str, int]:
    """Register each topic's value schema as `<topic>-value`; returns record name -> schema id. Idempotent.

    A schema that what is registered does not allow is a ClusterError; nothing is registered then.
    """
    named = {_subject(topic): topic for topic in catalogue.values() if topic.value_schema}
    with SchemaRegistry(settings.registry_config()) as registry, ThreadPoolExecutor(CALLS_AT_ONCE) as pool:
        held = set(registry.subjects())
        for problem in pool.map(lambda s: _incompatible(registry, s, named[s]), sorted(held & named.keys())):
            if problem is not None:
                raise problem
        # One after the other: the ids then follow the catalogue.
        ids = {str(topic.value_schema): registry.register(subject, _schema(topic)) for subject, topic in named.items()}
        list(pool.map(lambda s: _keep_compatible(registry, s, named[s]), named))
    return ids


def ensure_acls(settings: Settings, wanted: Sequence[Acl]) -> tuple[list[Acl], list[Acl]]:
    """Make the permissions that are missing; returns those made, and those that others have beside the wanted ones.

    What is beside them is never removed here: somebody may live by it. Idempotent.
    """
    admin = _admin(settings)
    everything = AclBindingFilter(
        ResourceType.ANY, _ANY, ResourcePatternType.ANY, _ANY, _ANY, AclOperation.ANY, AclPermissionType.ALLOW
    )
    try:
        bindings = admin.describe_acls(everything, request_timeout=TIMEOUT_S).result()
        held = {_acl(binding) for binding in bindings if binding.restype in _RESOURCES.values()}
        made = [acl for acl in wanted if acl not in held]
        if made:
            for future in admin.create_acls([_binding(acl) for acl in made], request_timeout=TIMEOUT_S).values():
                future.result()
    except KafkaException as error:
        raise _no_acls(error) from error
    return made, sorted(acl for acl in held - set(wanted) if touches(acl))


_RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


def _binding(acl: Acl) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if acl.prefix else ResourcePatternType.LITERAL
    resource, operation = _RESOURCES[acl.resource], _OPERATIONS[acl.operation]
    return AclBinding(resource, acl.name, pattern, acl.principal, "*", operation, AclPermissionType.ALLOW)


def _acl(binding: AclBinding) -> Acl:
    operation = AclOperation(binding.operation)
    names = {known: name for name, known in _OPERATIONS.items()}
    prefix = binding.resource_pattern_type == ResourcePatternType.PREFIXED
    kind: Literal["topic", "group"] = "topic" if binding.restype == ResourceType.TOPIC else "group"
    called = names.get(operation) or operation.name.title().replace("_", "")
    return Acl(str(binding.principal), kind, str(binding.name), called, prefix)


def _no_acls(error: KafkaException) -> ClusterError:
    reason = error.args[0]
    if reason.code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:  # the broker's own words are a dump of the request
        return ClusterError("This user may not read or make ACLs.", "Log in as a super user of the brokers.")
    if reason.code() == KafkaError.SECURITY_DISABLED:
        return ClusterError(
            "The cluster has no authorizer: everybody may do everything.",
            "Set authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer on brokers and"
            " controllers.",
        )
    return ClusterError(
        f"The cluster's ACLs can't be read or made ({reason.str()}).",
        "Check MANDATE_KAFKA_BOOTSTRAP and the security settings.",
    )


def _admin(settings: Settings) -> AdminClient:
    """A client for administration, once the cluster has let us in."""
    from streams.access import check_access

    check_access(settings)
    return AdminClient({**settings.client_config(), "log_level": 0})


def _incompatible(registry: SchemaRegistry, subject: str, topic: Topic) -> ClusterError | None:
    broken = registry.incompatibilities(subject, _schema(topic))
    if not broken:
        return None
    return ClusterError(
        f"The schema of {topic.value_schema} can't follow what {subject} holds ({topic.compatibility}): {broken[0]}",
        "Change it so that old and new readers understand each other, or give the topic a new name.",
    )


def _keep_compatible(registry: SchemaRegistry, subject: str, topic: Topic) -> None:
    if registry.compatibility(subject) != topic.compatibility:
        registry.set_compatibility(subject, topic.compatibility)


def _subject(topic: Topic) -> str:
    return f"{topic.name}-value"


def _schema(topic: Topic) -> str:
    return schema_json(str(topic.value_schema))


def _partitions(topic: Topic, settings: Settings) -> int:
    return settings.partitions if topic.partitions == "P" else topic.partitions


def _config(topic: Topic, settings: Settings) -> dict[str, str]:
    config = dict(topic.config)
    if settings.clock == "driven" and "retention.ms" in config:
        # The records bear the driven clock's times: by the broker's own they may be years old.
        config["retention.ms"] = KEEP_FOREVER
    return config


def _existing(admin: AdminClient) -> dict[str, int]:
    try:
        topics = admin.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise _unreachable(error) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}


def _compare(admin: AdminClient, settings: Settings, wanted: Mapping[str, Topic], existing: Mapping[str, int]) -> None:
    for name, topic in wanted.items():
        partitions = _partitions(topic, settings)
        if existing[name] != partitions:
            raise ClusterError(
                f"Topic {name} has {existing[name]} partitions, but {partitions} are configured.",
                "Set MANDATE_PARTITIONS to what the cluster has; leads keep their partition for ever.",
            )
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    if not resources:
        return
    for resource, future in admin.describe_configs(resources, request_timeout=TIMEOUT_S).items():
        try:
            cleanup = future.result()["cleanup.policy"].value
        except KafkaException as error:
            raise _unreachable(error) from error
        expected = wanted[resource.name].cleanup
        if cleanup != expected:
            raise ClusterError(
                f"Topic {resource.name} has cleanup.policy={cleanup}, but the catalogue says {expected}.",
                f"Alter the topic (kafka-configs --alter --add-config cleanup.policy={expected}) or delete it if it"
                " is not Mandate's.",
            )


def _create(admin: AdminClient, settings: Settings, topics: list[Topic]) -> list[str]:
    if not topics:
        return []
    new = [
        NewTopic(
            topic.name,
            num_partitions=_partitions(topic, settings),
            replication_factor=settings.replication_factor,
            config=_config(topic, settings),
        )
        for topic in topics
    ]
    for name, future in admin.create_topics(new, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was quicker
                raise ClusterError(
                    f"Topic {name} could not be created: {error.args[0].str()}.",
                    "Check that this user may create topics and that MANDATE_REPLICATION_FACTOR fits the cluster.",
                ) from error
    return [topic.name for topic in topics]


def _unreachable(error: KafkaException) -> ClusterError:
    return ClusterError(
        f"The Kafka cluster does not answer ({error.args[0].str()}).",
        "Check MANDATE_KAFKA_BOOTSTRAP and the security settings, or `mandate status` for the local one.",
    )

"""The whole dataflow on one page: every stage, what it reads and what it writes. Nothing else is wired anywhere.

Names of stages, groups, tables and topics are permanent: consumer offsets, changelogs and audit tables hang on
them. What a topic holds is in `schemas.catalogue`; `check` refuses a page that does not agree with it.
"""

from collections.abc import Mapping, Sequence

import msgspec

from schemas.catalogue import EVENT_INPUTS, GROUPS, TOPICS, Group, Topic


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """State of a stage: RocksDB on its disk, whole in a changelog topic."""

    name: str
    changelog: str


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage. external: run by others. group: Kafka consumer group of its offsets; None: it keeps them elsewhere."""

    name: str
    doc: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    table: Table | None = None
    group: str | None = None
    external: bool = False


PLATFORM = Stage(
    name="platform",
    doc="Voice and messaging platforms, the CRM, detectors; in replays also the player that drives the clock.",
    reads=("agent.directives",),
    writes=(
        "perception.raw",
        "telephony.events",
        "transcription.events",
        "messaging.events",
        "signal.events",
        "crm.events",
        "clock.driven",
    ),
    external=True,
)
AGENT = Stage(
    name="agent",
    doc="Sales agents. They propose, await the verdict, verify the grant, act, report.",
    reads=(
        "permission.decisions",
        "permission.revocations",
        "agent.directives",
        "execution.state",
        "crm.results",
    ),
    writes=("agent.requests", "agent.outcomes", "signal.events"),
    external=True,
)
HUMAN = Stage(
    name="human",
    doc="People who take cases and intervene.",
    reads=("escalation.cases",),
    writes=("human.interventions",),
    external=True,
)
OPERATOR = Stage(
    name="operator",
    doc="Who activates policy, intervenes, and sends dead letters again to the inputs that they came from.",
    reads=("dead.letters", "policy.activations"),
    writes=EVENT_INPUTS,
    external=True,
)
AUDITOR = Stage(
    name="auditor",
    doc="Who asks what was decided, why, and whether the lake is whole; writes nothing.",
    reads=(
        "policy.activations",
        "execution.journal",
        "permission.decisions",
        "permission.revocations",
        "agent.directives",
        "execution.transitions",
        "execution.state",
        "escalation.cases",
        "crm.updates",
        "crm.results",
        "audit.checkpoints",
        "dead.letters",
    ),
    external=True,
)
INTAKE = Stage(
    name="intake",
    doc="Checks each record, makes it canonical, finds its lead, stamps the one clock.",
    group="mandate-intake",
    reads=(
        "perception.raw",
        "telephony.events",
        "transcription.events",
        "messaging.events",
        "signal.events",
        "crm.events",
        "agent.requests",
        "agent.outcomes",
        "human.interventions",
        "policy.activations",
        "permission.revocations",
        "clock.broker",
        "call.directory",
        "clock.driven",
    ),
    writes=("execution.journal", "call.directory", "dead.letters", "clock.broker"),
)
CONTROL = Stage(
    name="control",
    doc="Folds the journal into shared state and answers permit, defer or block. Adds ticks to the journal.",
    group="mandate-control",
    reads=("execution.journal", "clock.driven", "clock.broker", "mandate-control-execution-changelog"),
    writes=(
        "permission.decisions",
        "permission.revocations",
        "agent.directives",
        "execution.transitions",
        "execution.state",
        "escalation.cases",
        "crm.updates",
        "dead.letters",
        "execution.journal",
        "clock.broker",
        "mandate-control-execution-changelog",
    ),
    table=Table(name="execution", changelog="mandate-control-execution-changelog"),
)
CRM_SINK = Stage(
    name="crm-sink",
    doc="Verifies the grant of each CRM write, then writes; offsets lie in the CRM store's own transaction.",
    reads=("crm.updates", "permission.revocations", "policy.activations"),
    writes=("crm.results", "dead.letters"),
)
AUDIT_SINK = Stage(
    name="audit-sink",
    doc="Lands everything in Iceberg tables; offsets lie in the tables' own commits.",
    reads=(
        "execution.journal",
        "permission.decisions",
        "permission.revocations",
        "agent.directives",
        "execution.transitions",
        "escalation.cases",
        "crm.results",
        "dead.letters",
    ),
    writes=("audit.checkpoints",),
)
DATA_TEAM = Stage(
    name="data-team",
    doc="Whoever else reads: streams here, history in the lake.",
    reads=(
        "execution.journal",
        "permission.decisions",
        "agent.directives",
        "execution.transitions",
        "execution.state",
        "escalation.cases",
        "crm.results",
        "audit.checkpoints",
        "dead.letters",
    ),
    external=True,
)

STAGES: tuple[Stage, ...] = (
    PLATFORM, AGENT, HUMAN, OPERATOR, INTAKE, CONTROL, CRM_SINK, AUDIT_SINK, DATA_TEAM, AUDITOR,
)  # fmt: skip
"""Every stage, in the order of the flow."""

OUTPUTS: tuple[str, ...] = tuple(
    name
    for name, topic in TOPICS.items()
    if not topic.internal and name != "execution.journal" and any(name in s.writes for s in STAGES if not s.external)
)
"""What comes out at the end, for people who look."""


def check(
    stages: Sequence[Stage] = STAGES, topics: Mapping[str, Topic] = TOPICS, groups: Sequence[Group] = GROUPS
) -> list[str]:
    """What is wrong with the wiring, one sentence each; empty when stages and catalogue agree.

    Refused: two stages or tables of one name, a topic that nobody writes or nobody reads, a writer or reader that
    the catalogue does not name (so also a second writer where it names one), one that it names and that is not there,
    a topic outside the catalogue, a changelog that others touch or that is not compacted per partition, a consumer
    group whose one member is not the stage that it belongs to, a group of nobody.
    """
    found = _doubles([stage.name for stage in stages], "stage")
    found += _doubles([stage.table.name for stage in stages if stage.table], "table")
    found += _doubles([stage.group for stage in stages if stage.group], "consumer group")
    for stage in stages:
        found += [
            f"{stage.name} names {topic}, which the catalogue does not have"
            for topic in dict.fromkeys(stage.reads + stage.writes)
            if topic not in topics
        ]
        if not stage.reads and not stage.writes:
            found.append(f"{stage.name} neither reads nor writes")
        if stage.table:
            found += _changelog(stage, stage.table, stages, topics)
    for topic in topics.values():
        writers = {stage.name for stage in stages if topic.name in stage.writes}
        readers = {stage.name for stage in stages if topic.name in stage.reads}
        found += _ends(topic.name, "writes", "writer", writers, set(topic.writers))
        found += _ends(topic.name, "reads", "reader", readers, set(topic.readers))
    return found + _groups(stages, groups)


def _groups(stages: Sequence[Stage], groups: Sequence[Group]) -> list[str]:
    names = {stage.name for stage in stages}
    members = {group.name: set(group.members) for group in groups}
    found = _doubles([group.name for group in groups], "group")
    for stage in stages:
        if stage.group is not None and members.get(stage.group) != {stage.name}:
            found.append(f"the catalogue does not give group {stage.group} to {stage.name} alone")
    for group in groups:
        parties = {*group.members, *group.users}
        found += [] if parties else [f"group {group.name}: nobody uses it"]
        found += [f"group {group.name}: there is no stage {name}" for name in sorted(parties - names)]
    return found


def _ends(topic: str, verb: str, end: str, wired: set[str], named: set[str]) -> list[str]:
    found = [] if wired else [f"{topic}: nobody {verb} it"]
    found += [f"{topic}: {name} {verb} it, the catalogue names no such {end}" for name in sorted(wired - named)]
    found += [f"{topic}: the catalogue names the {end} {name}, which is not wired" for name in sorted(named - wired)]
    return found


def _changelog(stage: Stage, table: Table, stages: Sequence[Stage], topics: Mapping[str, Topic]) -> list[str]:
    topic = topics.get(table.changelog)
    if topic is None:
        return [f"table {table.name} of {stage.name} has no changelog {table.changelog} in the catalogue"]
    found = []
    if topic.cleanup != "compact" or topic.partitions != "P":
        found.append(f"changelog {topic.name} must be compacted and have a partition for each of the journal's")
    others = [s.name for s in stages if s is not stage and topic.name in s.reads + s.writes]
    found += [f"changelog {topic.name} belongs to {stage.name}, {other} touches it" for other in others]
    return found


def _doubles(names: Sequence[str], kind: str) -> list[str]:
    return [f"two of one name: {kind} {name}" for name in sorted(set(names)) if names.count(name) > 1]

"""Who may do what on the cluster, derived from the topic catalogue; `mandate topics acls` prints or makes it.

Only permissions are made: what is not listed is refused by Kafka's StandardAuthorizer
(`allow.everyone.if.no.acl.found=false`, its default). Whoever may alter ACLs is a super user of the brokers.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from deploy.errors import OperatorError
from schemas.catalogue import AGENT, GROUPS, TOPICS, Topic

SETUP = "setup"
"""Who makes the topics: `mandate up`, `mandate topics --create`. Writes and reads nothing."""
DRIVEN_CLOCK = "clock.driven"
_SETUP_OPERATIONS = ("Create", "Describe", "DescribeConfigs")

Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs"]


class PrincipalError(OperatorError):
    """A principal does not fit. The operator corrects the option that is named."""

    exit_code = 2


class Acl(NamedTuple):
    """One permission, from any host, as Kafka's tools word it. prefix: of every resource whose name begins so."""

    principal: str
    resource: Literal["topic", "group"]
    name: str
    operation: str
    prefix: bool = False


class Principals(NamedTuple):
    """Who bears which part. parts: by stage of `streams.topology`, and SETUP. agents: a principal for each."""

    parts: Mapping[str, str]
    agents: tuple[str, ...] = ()

    def of(self, stage: str) -> tuple[str, ...]:
        """The principals that act as a stage."""
        return self.agents if stage == AGENT else (self.parts[stage],)


def stages(topics: Mapping[str, Topic] = TOPICS) -> list[str]:
    """Every writer and reader that the catalogue names, in its order; agents apart."""
    named = [name for topic in topics.values() for name in (*topic.writers, *topic.readers)]
    return [name for name in dict.fromkeys(named) if name != AGENT]


def principals(named: Iterable[str] = (), agents: Iterable[str] = ()) -> Principals:
    """`mandate-<part>` for each part, unless `named` ("part=principal") says otherwise; an agent bears its own name.

    `User:` is put before a principal without a type. Raises PrincipalError.
    """
    parts = {stage: f"mandate-{stage}" for stage in (*stages(), SETUP)}
    for text in named:
        part, sign, principal = text.partition("=")
        if part not in parts or not sign or not principal:
            raise PrincipalError(f"{text!r} names no principal.", f"Write PART=NAME; parts: {', '.join(parts)}.")
        parts[part] = principal
    found = Principals({part: _typed(name) for part, name in parts.items()}, tuple(_typed(name) for name in agents))
    bearers = [*found.parts.values(), *found.agents]
    shared = sorted({name for name in bearers if bearers.count(name) > 1})
    if shared:
        # One that is control and an agent at once could write its own decisions.
        raise PrincipalError(f"{shared[0]} bears two parts.", "Give each part and each agent a principal of its own.")
    return found


def acls(who: Principals, *, driven: bool = False, topics: Mapping[str, Topic] = TOPICS) -> list[Acl]:
    """Every permission that the catalogue asks for, each once, in a fixed order.

    driven: the deployment has a driven clock; in production nobody may write it.
    """
    found = list(dict.fromkeys([*_topics(who, driven, topics), *_groups(who), *_setup(who, topics)]))
    order = {principal: number for number, principal in enumerate([*who.parts.values(), *who.agents])}
    return sorted(found, key=lambda acl: (order[acl.principal], acl.resource != "topic"))


def _topics(who: Principals, driven: bool, topics: Mapping[str, Topic]) -> Iterator[Acl]:
    for topic in topics.values():
        if topic.name == DRIVEN_CLOCK and not driven:
            # Processes whose clock is the system's never look; only the right to set it would be dangerous.
            continue
        for stage in topic.writers:
            yield from (Acl(principal, "topic", topic.name, "Write") for principal in who.of(stage))
        for stage in topic.readers:
            yield from (Acl(principal, "topic", topic.name, "Read") for principal in who.of(stage))


def _groups(who: Principals) -> Iterator[Acl]:
    for group in GROUPS:
        for stage in group.members:
            yield from (Acl(principal, "group", group.name, "Read", group.prefix) for principal in who.of(stage))
        for stage in group.users:
            # librdkafka looks for the coordinator of whatever group it is given; it may not join with this.
            yield from (Acl(principal, "group", group.name, "Describe", group.prefix) for principal in who.of(stage))


def _setup(who: Principals, topics: Mapping[str, Topic]) -> Iterator[Acl]:
    for name in topics:
        yield from (Acl(who.parts[SETUP], "topic", name, operation) for operation in _SETUP_OPERATIONS)


def touches(acl: Acl, topics: Mapping[str, Topic] = TOPICS) -> bool:
    """Whether a permission, maybe somebody else's, reaches a topic or a group of Mandate."""
    ours = list(topics) if acl.resource == "topic" else [group.name for group in GROUPS]
    return acl.name == "*" or any(name.startswith(acl.name) if acl.prefix else name == acl.name for name in ours)


def commands(wanted: Sequence[Acl], bootstrap: str, *, remove: bool = False) -> list[str]:
    """Lines for Kafka's own `kafka-acls`: one for each principal, operations and kind of resource."""
    lines = []
    verb, end = ("--remove", " --force") if remove else ("--add", "")
    head = f"kafka-acls --bootstrap-server {shlex.quote(bootstrap)} --command-config admin.properties {verb}"
    for (principal, resource, prefix, operations), same in _together(wanted):
        pattern = " --resource-pattern-type prefixed" if prefix else ""
        doing = "".join(f" --operation {operation}" for operation in operations)
        names = "".join(f" --{resource} {shlex.quote(name)}" for name in same)
        lines.append(f"{head} --allow-principal {shlex.quote(principal)}{doing}{pattern}{names}{end}")
    return lines


def _together(wanted: Sequence[Acl]) -> Iterator[tuple[tuple[str, str, bool, tuple[str, ...]], list[str]]]:
    operations: dict[tuple[str, str, bool, str], list[str]] = {}
    for acl in wanted:
        operations.setdefault((acl.principal, acl.resource, acl.prefix, acl.name), []).append(acl.operation)
    rows = [((*key[:3], tuple(sorted(found))), key[3]) for key, found in operations.items()]
    first = {key: number for number, (key, _) in reversed(list(enumerate(rows)))}
    rows.sort(key=lambda row: first[row[0]])
    for key, same in groupby(rows, key=lambda row: row[0]):
        yield key, [name for _, name in same]


def _typed(name: str) -> str:
    typed = name if name.startswith("User:") else f"User:{name}"
    if typed in ("User:", "User:*") or "\n" in typed:
        raise PrincipalError(f"{name!r} is no principal.", "Name one user, as the brokers know it.")
    return typed

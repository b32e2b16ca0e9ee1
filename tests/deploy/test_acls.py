"""Permissions as the catalogue asks for them: everything that is needed, nothing beside it. No broker."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.acls import SETUP, Acl, PrincipalError, acls, commands, principals, stages, touches
from deploy.commands import topics_acls
from deploy.settings import load_settings
from schemas.catalogue import AGENT, EVENT_INPUTS, GROUPS, TOPICS, Group
from streams.topology import STAGES, check

ROOT = Path(__file__).parents[2]
AGENTS = ("closer-1", "booker-1")
WHO = principals(agents=AGENTS)
ALL = acls(WHO)
CONTROL_ONLY = {
    "permission.decisions", "permission.revocations", "agent.directives", "execution.transitions", "execution.state",
    "escalation.cases", "crm.updates", "mandate-control-execution-changelog",
}  # fmt: skip


def who_may(operation: str, name: str) -> set[str]:
    """The users that may do something to a topic."""
    found = {acl.principal for acl in ALL if (acl.resource, acl.name, acl.operation) == ("topic", name, operation)}
    return {principal.removeprefix("User:").removeprefix("mandate-") for principal in found}


def may(user: str, operation: str) -> set[str]:
    """The topics to which a user may do something."""
    return {a.name for a in ALL if (a.principal, a.resource, a.operation) == (f"User:{user}", "topic", operation)}


@pytest.mark.parametrize("name", sorted(set(TOPICS) - {"clock.driven"}))
def test_a_topic_is_written_and_read_by_those_whom_the_catalogue_names_and_by_nobody_else(name: str) -> None:
    def named(parties: tuple[str, ...]) -> set[str]:
        return {user for party in parties for user in (AGENTS if party == AGENT else (party,))}

    assert who_may("Write", name) == named(TOPICS[name].writers)
    assert who_may("Read", name) == named(TOPICS[name].readers)


@pytest.mark.parametrize("name", sorted(CONTROL_ONLY))
def test_nobody_but_control_writes_what_control_says(name: str) -> None:
    assert who_may("Write", name) == {"control"}


def test_the_journal_is_written_by_intake_and_control_alone() -> None:
    assert who_may("Write", "execution.journal") == {"intake", "control"}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_writes_requests_outcomes_and_signals_and_reads_only_what_answers_it(agent: str) -> None:
    assert may(agent, "Write") == {"agent.requests", "agent.outcomes", "signal.events"}
    assert may(agent, "Read") == {
        "permission.decisions", "permission.revocations", "agent.directives", "execution.state", "crm.results",
    }  # fmt: skip
    groups = [acl for acl in ALL if acl.principal == f"User:{agent}" and acl.resource == "group"]
    assert groups == [Acl(f"User:{agent}", "group", "mandate-agent", "Describe")]


def test_the_operator_writes_every_input_and_nothing_else() -> None:
    assert may("mandate-operator", "Write") == set(EVENT_INPUTS)
    assert may("mandate-operator", "Read") == {"dead.letters", "policy.activations"}


def test_the_auditor_writes_nothing_and_sees_no_webhooks() -> None:
    assert may("mandate-auditor", "Write") == set()
    assert "perception.raw" not in may("mandate-auditor", "Read")


def test_who_makes_the_topics_can_neither_write_nor_read_them() -> None:
    own = [acl for acl in ALL if acl.principal == WHO.parts[SETUP]]
    assert {acl.operation for acl in own} == {"Create", "Describe", "DescribeConfigs"}
    assert {acl.name for acl in own} == set(TOPICS)


def test_nothing_is_for_everybody_and_nothing_alters_or_deletes() -> None:
    assert {acl.operation for acl in ALL} == {"Read", "Write", "Create", "Describe", "DescribeConfigs"}
    assert not [acl for acl in ALL if "*" in acl.principal + acl.name]
    assert not [acl for acl in ALL if acl.prefix and acl.resource == "topic"]
    assert len(ALL) == len(set(ALL))


def test_a_driven_clock_is_driven_only_where_the_deployment_has_one() -> None:
    assert not [acl for acl in ALL if acl.name == "clock.driven" and acl.principal != WHO.parts[SETUP]]
    writers = [a.principal for a in acls(WHO, driven=True) if (a.name, a.operation) == ("clock.driven", "Write")]
    assert writers == ["User:mandate-platform"]


def test_every_part_of_the_dataflow_has_a_principal() -> None:
    assert {*stages(), AGENT} == {stage.name for stage in STAGES}
    assert set(WHO.parts) == {*stages(), SETUP}


GROUP_NAME = re.compile(r'(?:make_consumer\([^)]*?|"group\.id": |(?i:group)(?:: str)? = )"(mandate[a-z-]+)"', re.DOTALL)


def group_names(text: str) -> set[str]:
    """Names of consumer groups in a source."""
    return set(GROUP_NAME.findall(text))


def test_every_group_that_a_client_names_is_in_the_catalogue() -> None:
    sources = [path for package in ("agents", "streams", "sinks", "deploy") for path in (ROOT / package).rglob("*.py")]
    named = {name for path in sources if "demo" not in path.parts for name in group_names(path.read_text())}
    assert named >= {"mandate-agent", "mandate-follow", "mandate-explain", "mandate-completeness"}
    assert named - {group.name for group in GROUPS} == set()
    assert not [path for path in sources if "transactional.id" in path.read_text()]


def test_a_group_that_the_catalogue_lacks_is_found() -> None:
    assert group_names('make_consumer(\n    settings, "mandate-new", **{})') == {"mandate-new"}
    assert group_names('Consumer({"group.id": "mandate-old"})') == {"mandate-old"}
    assert group_names('def f(*, group: str = "mandate-b"): ...\nGROUP = "mandate-a"') == {"mandate-a", "mandate-b"}


@pytest.mark.parametrize(
    ("group", "fault"),
    [
        (Group(name="mandate-x"), "group mandate-x: nobody uses it"),
        (Group(name="mandate-x", users=("ghost",)), "group mandate-x: there is no stage ghost"),
        (Group(name="mandate-control", members=("control",)), "two of one name: group mandate-control"),
    ],
)
def test_a_group_of_nobody_of_a_ghost_or_named_twice_is_refused(group: Group, fault: str) -> None:
    assert fault in check(groups=(*GROUPS, group))


def test_a_group_that_others_join_too_is_refused() -> None:
    shared = tuple(
        Group(name=g.name, members=("control", "agent")) if g.name == "mandate-control" else g for g in GROUPS
    )
    assert "the catalogue does not give group mandate-control to control alone" in check(groups=shared)


def read_back(line: str) -> set[Acl]:
    """What `kafka-acls` would make of a line."""
    words = shlex.split(line)
    assert words[0] == "kafka-acls"
    pairs = list(pairwise(words))

    def all_of(option: str) -> list[str]:
        return [value for name, value in pairs if name == option]

    (principal,) = all_of("--allow-principal")
    prefix = all_of("--resource-pattern-type") == ["prefixed"]
    return {
        Acl(principal, kind, name, operation, prefix)  # type: ignore[arg-type]
        for kind in ("topic", "group")
        for name in all_of(f"--{kind}")
        for operation in all_of("--operation")
    }


def test_the_lines_for_kafka_acls_say_the_same() -> None:
    lines = commands(ALL, "broker:9093")
    assert len(lines) < 40
    assert sorted(acl for line in lines for acl in read_back(line)) == sorted(ALL)
    assert all(" --add " in line for line in lines)
    assert all("--remove" in line and "--force" in line for line in commands(ALL, "b:1", remove=True))


def test_a_distinguished_name_survives_the_shell() -> None:
    named = principals(["control=CN=control, O=A & B"], ["agent:7"])
    assert (named.parts["control"], named.agents) == ("User:CN=control, O=A & B", ("User:agent:7",))
    found = {acl.principal for line in commands(acls(named), "b:1") for acl in read_back(line)}
    assert {"User:CN=control, O=A & B", "User:agent:7"} <= found


@pytest.mark.parametrize(
    ("named", "agents", "told"),
    [
        (["contrl=x"], [], "names no principal"),
        (["control"], [], "names no principal"),
        (["control="], [], "names no principal"),
        (["control=*"], [], "is no principal"),
        ([], ["User:"], "is no principal"),
        ([], ["mandate-control"], "bears two parts"),
        (["intake=same", "control=same"], [], "bears two parts"),
        ([], ["closer-1", "closer-1"], "bears two parts"),
    ],
)
def test_a_principal_that_does_not_fit_is_told(named: list[str], agents: list[str], told: str) -> None:
    with pytest.raises(PrincipalError, match=told):
        principals(named, agents)


@pytest.mark.parametrize(
    ("acl", "reaches"),
    [
        (Acl("User:x", "topic", "permission.decisions", "Write"), True),
        (Acl("User:x", "topic", "permission.", "Write", prefix=True), True),
        (Acl("User:x", "topic", "*", "Write"), True),
        (Acl("User:x", "group", "mandate-", "Read", prefix=True), True),
        (Acl("User:x", "topic", "permission.", "Write"), False),
        (Acl("User:x", "topic", "orders", "Write"), False),
    ],
)
def test_what_others_may_do_to_ours_is_seen_and_what_they_do_elsewhere_is_not(acl: Acl, reaches: bool) -> None:
    assert touches(acl) is reaches


def test_the_command_prints_every_permission_as_json_and_says_that_no_agent_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = load_settings()
    assert topics_acls.run(settings, principals=[], agents=list(AGENTS), apply=False, as_json=True) == 0
    printed = capsys.readouterr()
    assert [Acl(**row) for row in json.loads(printed.out)] == ALL
    assert printed.err == ""
    assert topics_acls.run(settings, principals=[], agents=[], apply=False, as_json=False) == 0
    printed = capsys.readouterr()
    assert "--agent NAME" in printed.err
    assert "mandate-control" in printed.out

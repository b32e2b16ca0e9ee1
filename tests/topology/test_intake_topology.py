"""The dataflow's page agrees with the catalogue, and the check refuses every way in which it might not."""

import msgspec
import pytest

from schemas.catalogue import TOPICS, Topic
from schemas.records import DeadLetterCode, ReasonCode, Tick
from streams import docs, topology
from streams.code_texts import DEAD_LETTERS, REASONS
from streams.figure import figure
from streams.topology import STAGES, Stage, Table, check

replace = msgspec.structs.replace


def test_the_dataflow_holds_together():
    assert check() == []


def test_the_figure_names_every_stage_of_ours_and_every_topic():
    shown = figure()
    assert all(f"{stage.name.upper()}  " in shown for stage in STAGES if not stage.external)
    assert [name for name in TOPICS if name not in shown] == []


def test_names_that_offsets_and_state_hang_on_stay():
    assert topology.INTAKE.group == "mandate-intake"
    assert topology.CONTROL.group == "mandate-control"
    assert topology.CONTROL.table == Table(name="execution", changelog="mandate-control-execution-changelog")


def _with(stage: Stage) -> tuple[Stage, ...]:
    return tuple(stage if old.name == stage.name else old for old in STAGES)


def test_a_topic_that_nobody_writes_or_reads_is_refused():
    orphan = Topic(name="lost.events", doc="", key="", value=Tick, writers=(), readers=())
    faults = check(STAGES, {**TOPICS, orphan.name: orphan})
    assert "lost.events: nobody writes it" in faults
    assert "lost.events: nobody reads it" in faults


def test_a_missing_reader_is_refused():
    deaf = replace(topology.INTAKE, reads=tuple(name for name in topology.INTAKE.reads if name != "perception.raw"))
    faults = check(_with(deaf))
    assert "perception.raw: nobody reads it" in faults
    assert "perception.raw: the catalogue names the reader intake, which is not wired" in faults


def test_a_second_writer_where_the_catalogue_names_one_is_refused():
    loud = replace(topology.CRM_SINK, writes=(*topology.CRM_SINK.writes, "permission.decisions"))
    expected = "permission.decisions: crm-sink writes it, the catalogue names no such writer"
    assert check(_with(loud)) == [expected]


def test_a_topic_outside_the_catalogue_is_refused():
    astray = replace(topology.INTAKE, writes=(*topology.INTAKE.writes, "journal.v2"))
    assert check(_with(astray)) == ["intake names journal.v2, which the catalogue does not have"]


def test_a_sink_that_is_not_there_is_refused():
    without = tuple(stage for stage in STAGES if stage.name != "audit-sink")
    assert "audit.checkpoints: nobody writes it" in check(without)


def test_an_idle_stage_is_refused():
    idle = Stage(name="idle", doc="")
    assert check((*STAGES, idle)) == ["idle neither reads nor writes"]


@pytest.mark.parametrize(
    ("twin", "fault"),
    [
        ({"name": "intake"}, "two of one name: stage intake"),
        ({"group": "mandate-intake"}, "two of one name: consumer group mandate-intake"),
    ],
)
def test_two_stages_of_one_name_or_group_are_refused(twin, fault):
    other = replace(topology.CRM_SINK, **twin)
    assert fault in check((*STAGES, other))


def test_a_table_whose_changelog_could_lose_rows_is_refused():
    name = "mandate-control-execution-changelog"
    lossy = replace(TOPICS[name], cleanup="delete")
    expected = f"changelog {name} must be compacted and have a partition for each of the journal's"
    assert check(STAGES, {**TOPICS, name: lossy}) == [expected]


def test_a_stage_that_touches_anothers_changelog_is_refused():
    name = "mandate-control-execution-changelog"
    nosy = replace(topology.AUDIT_SINK, reads=(*topology.AUDIT_SINK.reads, name))
    assert f"changelog {name} belongs to control, audit-sink touches it" in check(_with(nosy))


@pytest.mark.parametrize("name", docs.FILES)
def test_the_docs_are_what_the_contract_says(name, request):
    committed = (request.config.rootpath / "docs" / name).read_text(encoding="utf-8")
    assert committed == docs.FILES[name](), "run `python -m streams.docs`"


def test_every_code_has_a_meaning_and_an_advice():
    assert set(REASONS) == set(ReasonCode)
    assert set(DEAD_LETTERS) == set(DeadLetterCode)
    assert all(text.meaning and text.advice for text in (*REASONS.values(), *DEAD_LETTERS.values()))

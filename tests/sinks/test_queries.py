"""The queries of the docs run, on a lake with records in it, and a query can do nothing but read."""

import re
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from deploy.commands import query as command
from deploy.settings import Settings, load_settings
from schemas import records as r
from sinks.columns import row_maker, table_of, table_schema
from sinks.lake import AUDITED, LandingTable, Span, open_catalog
from sinks.queries import QueryError, query
from tests.sinks.support import NOON, SECOND, revocation
from tests.sinks.test_columns import DECISION, TICK

DOCS = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
LEAD = r.LeadId("lead-0001")
PERMIT = msgspec.structs.replace(
    DECISION, decision_id="d2", lead_id=LEAD, verdict=r.Verdict.PERMIT, grant_id="g1", criteria=(), defer=None
)
BLOCK = msgspec.structs.replace(DECISION, decision_id="d3", lead_id=LEAD, verdict=r.Verdict.BLOCK)
DIRECTIVE = r.Directive(
    directive_id="x", lead_id=LEAD, type=r.DirectiveType.HOLD, code=r.ReasonCode.OPT_OUT, message="hold",
    position=r.Position(partition=0, offset=1), at=NOON + 2 * SECOND,
)  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lake with a few records; the decision stands twice, as after a crash of control."""
    settings = load_settings(data_dir=tmp_path)
    catalog = open_catalog(settings)
    held: dict[str, list[r.Record]] = {
        "execution.journal": [msgspec.structs.replace(TICK, lead_id=LEAD)],
        "permission.decisions": [PERMIT, PERMIT, BLOCK],
        "permission.revocations": [revocation("g1", LEAD, NOON + 3 * SECOND)],
        "agent.directives": [DIRECTIVE],
    }
    for topic, found in held.items():
        schema, make = table_schema(AUDITED[topic]), row_maker(AUDITED[topic])
        rows = [make(value) | {"_offset": offset} for offset, value in enumerate(found)]
        table = LandingTable(catalog, topic, "cluster")
        table.land(table_of(rows, [b""] * len(rows), schema), {0: Span(0, len(rows), len(rows))}, NOON)
    return settings


def documented() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def result(settings: Settings, number: int) -> list[dict[str, object]]:
    found: pa.Table = query(settings, documented()[number])
    rows: list[dict[str, object]] = found.to_pylist()
    return rows


def test_verdicts_by_reason_count_each_decision_once(settings: Settings) -> None:
    counted = {(row["verdict"], row["reason"]): row["decisions"] for row in result(settings, 0)}
    assert counted == {("PERMIT", ""): 1, ("BLOCK", "LEAD_SPEAKING"): 1}


def test_the_story_of_a_lead_is_told_in_order(settings: Settings) -> None:
    story = [row["source"] for row in result(settings, 1)]
    assert sorted(story[:4]) == ["decision", "decision", "decision", "journal"]
    assert story[4:] == ["directive", "revocation"]


def test_permits_that_were_revoked_say_how_long_they_stood(settings: Settings) -> None:
    [row] = result(settings, 2)
    assert (row["lead_id"], row["code"], row["stood_s"]) == (LEAD, "FACT_CHANGED", 3)


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT * FROM no_such_table",
        "COPY (SELECT 1) TO '{dir}/out.csv'",
        "SELECT * FROM read_text('{dir}/secret')",
        "INSTALL iceberg",
        "ATTACH '{dir}/other.db'",
        "SET enable_external_access = true",
    ],
)
def test_a_query_that_is_wrong_or_reaches_beyond_the_lake_is_refused(
    settings: Settings, sql: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(QueryError):
        query(settings, sql.format(dir=tmp_path))
    assert not (tmp_path / "out.csv").exists()


def test_the_command_prints_rows_for_people_and_for_pipes(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT verdict, count(*) AS n FROM permission_decisions GROUP BY ALL ORDER BY n"
    assert command.run(settings, sql=sql) == 0
    assert capsys.readouterr().out.split() == ["verdict", "n", "BLOCK", "1", "PERMIT", "2"]
    assert command.run(settings, sql=sql, form="csv") == 0
    assert capsys.readouterr().out.splitlines() == ["verdict,n", "BLOCK,1", "PERMIT,2"]
    assert command.run(settings, sql=sql, form="json") == 0
    assert capsys.readouterr().out.splitlines() == ['{"verdict": "BLOCK", "n": 1}', '{"verdict": "PERMIT", "n": 2}']


def test_the_command_says_what_is_wrong_with_a_query(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(settings, sql="SELEC 1") == 2
    assert "SELEC" in capsys.readouterr().err

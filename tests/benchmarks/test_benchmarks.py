"""What the figures rest on: percentiles, arrivals, traffic. The measurement itself is `make bench`."""

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy.settings import load_settings
from processors.intake import Admitted, Source, admit
from processors.offline import MemoryRows
from processors.partition import LEAD_PREFIX, TIMER_PREFIX, Partition
from schemas.catalogue import TOPIC_OF
from schemas.records import (
    AgentRequest,
    CallDirectoryEntry,
    Decision,
    LeadId,
    Record,
    Revocation,
    RevocationScope,
    Verdict,
)
from streams.tables import TABLE
from tests.benchmarks import bytes_on_disk, judging, overload, revocation, scale, scale_tables
from tests.benchmarks.figures import middle, percentiles, table
from tests.benchmarks.load import schedule
from tests.benchmarks.report import show, summary
from tests.benchmarks.workload import Traffic
from tests.core.story import COURT, activation

NOW = 1_795_000_000_000_000


def test_percentiles_are_samples_at_their_rank_and_never_between_two() -> None:
    found = percentiles([float(number) for number in range(1, 1_001)])
    assert found == {"p50": 500.0, "p95": 950.0, "p99": 990.0, "p99.9": 999.0, "max": 1_000.0, "count": 1_000}


def test_few_samples_put_the_high_percentiles_at_the_maximum() -> None:
    assert percentiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 3.0, "p99": 3.0, "p99.9": 3.0, "max": 3.0, "count": 3}
    assert percentiles([]) == {"count": 0}


def test_the_middle_of_rounds_is_their_median_figure_by_figure() -> None:
    assert middle([{"p50": 1, "p99": 9}, {"p50": 3, "p99": 5}, {"p50": 2, "p99": 70}]) == {"p50": 2, "p99": 9}


def test_a_table_puts_names_to_the_left_and_figures_to_the_right() -> None:
    assert table(("a", "n"), [("x", 1), ("long", 22)]).splitlines() == ["a      n", "----  --", "x      1", "long  22"]


def test_arrivals_have_the_rate_and_the_spread_of_independent_senders() -> None:
    times = list(schedule(1_000, 20, seed=3))
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.001, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.1)
    assert times == list(schedule(1_000, 20, seed=3))


def test_a_tenth_of_the_traffic_are_requests_at_every_moment() -> None:
    traffic = Traffic("t", 100, seed=1)
    for _ in range(10):
        values = [traffic.next(NOW).value for _ in range(200)]
        assert sum(isinstance(value, AgentRequest) for value in values) == 20


def test_the_same_seed_gives_the_same_traffic() -> None:
    one, other = (Traffic("t", 20, seed=5) for _ in range(2))
    assert [one.next(NOW + n) for n in range(500)] == [other.next(NOW + n) for n in range(500)]


class _Court:
    """Intake and control on one partition, and the first verdict on each request."""

    def __init__(self) -> None:
        self._partition = Partition(0, MemoryRows(), COURT)
        self._directory: dict[tuple[str, str], CallDirectoryEntry] = {}
        self._offset = 0
        self._answered: set[str] = set()
        self.verdicts: Counter[Verdict] = Counter()

    def hear(self, value: Record, at: int) -> None:
        source = Source(topic=TOPIC_OF[type(value)], partition=0, offset=self._offset)
        admitted = admit(value, source, at, self._directory)
        assert isinstance(admitted, Admitted)
        (entry,) = admitted.entries
        for output in self._partition.apply(entry, self._offset):
            if isinstance(output.value, Decision) and output.value.request_id not in self._answered:
                self._answered.add(output.value.request_id)
                self.verdicts[output.value.verdict] += 1
        self._offset += 1


def test_calls_are_opened_to_the_closing_stage_and_then_all_three_verdicts_come_most_of_them_permits() -> None:
    traffic, court = Traffic("t", 20, seed=1), _Court()
    court.hear(activation(), NOW)
    for step in traffic.opening():
        court.hear(step(NOW).value, NOW)
    assert court.verdicts.total() == 20
    court.verdicts.clear()
    for number in range(4_000):
        at = NOW + number * 5_000
        court.hear(traffic.next(at).value, at)
    assert court.verdicts.total() == 400
    assert 200 < court.verdicts[Verdict.PERMIT] < 360
    assert court.verdicts[Verdict.BLOCK] > 10
    assert court.verdicts[Verdict.DEFER] > 10


def _run(p50: float, others_s: float) -> dict[str, Any]:
    cpu = {"intake": 1.0, "control": 1.0, "broker": 1.0, "driver": 0.1, "others": others_s}
    latency = {**dict.fromkeys(("p50", "p95", "p99", "p99.9", "max"), p50), "count": 1}
    return {"rate": 200, "events": 100, "cpu_s": cpu, "took_s": 10.0, "latency_ms": latency, "samples_ms": [p50]}


def _rounds(*runs: tuple[float, int, float]) -> dict[str, list[Any]]:
    """Rounds of one system, each by its p50, its events a second, and what others used."""
    return {
        "latency": [[_run(p50, others)] for p50, _, others in runs],
        "backlog": [
            {**_run(p50, others), "events_per_s": rate, "intake_events_per_s": rate} for p50, rate, others in runs
        ],
    }


def shown(found: dict[str, Any]) -> str:
    """The report of systems with one partition."""
    return show({"partitions": 1, **found})


def test_the_report_says_how_many_partitions_there_were() -> None:
    found = summary({"ours": _rounds((4, 4_000, 0))})
    assert "One worker, 1 partition of each topic." in shown(found)
    assert "One worker, 4 partitions of each topic." in show({"partitions": 4, **found})


def test_the_report_shows_each_round_beside_the_processor_time_it_took() -> None:
    found = summary({"ours": _rounds((4, 4_000, 0), (9, 4_000, 0))})
    assert "ours at 200/s: 4.0 / 4.0 / 4.0 (31000), 9.0 / 9.0 / 9.0 (31000)" in shown(found)


def test_a_round_that_other_processes_disturbed_is_not_counted() -> None:
    found = summary({"ours": _rounds((4, 4_000, 0.1), (90, 900, 9.0), (6, 4_400, 0.2))})
    assert found["systems"]["ours"]["latency"]["200"]["median_of_rounds"]["p50"] == 5
    assert found["systems"]["ours"]["backlog"]["events_per_s"] == 4_200
    assert "2 runs are not counted" in shown(found)
    assert "DISTURBED" not in shown(found)


def test_figures_without_one_quiet_round_are_said_to_be_disturbed() -> None:
    found = summary({"ours": _rounds((90, 900, 9.0))})
    assert "DISTURBED" in shown(found)


def test_ratios_are_ours_to_theirs() -> None:
    found = summary({"ours": _rounds((6, 4_000, 0)), "theirs": _rounds((4, 2_000, 0))})
    assert found["ratios"] == {"events_per_s": 2.0, "latency_at_200": {"p50": 1.5, "p99": 1.5}}


def test_a_bundle_of_ten_times_the_rules_costs_less_than_twice_as_much() -> None:
    report = judging.measure(600)
    met = report["rules"]
    assert met[2_000] > 4 * met[200], met
    assert report["facts"] >= 40
    assert report["parts"]["judge, 2000 rules"]["p50"] < 2 * report["parts"]["judge, 200 rules"]["p50"]


def test_a_limit_that_is_not_kept_is_said() -> None:
    report = judging.measure(20)
    slow = {"p50": 101.0, "p95": 200.0, "p99": 249.0, "max": 300.0}
    missed = judging.missed({**report, "parts": {**report["parts"], "judge, 200 rules": slow}})
    assert "judge, 200 rules: p50 is 101.0 µs, more than 100" in missed
    assert not [sentence for sentence in missed if sentence.startswith("judge, 200 rules: p99")]


def test_memory_is_flat_when_its_last_third_is_as_its_middle_one() -> None:
    filling = [100.0 + n for n in range(30)]
    level = [130.0] * 60
    assert overload.flatness(filling + level)["flat"]
    assert overload.flatness(filling + [130.0] * 30 + [136.0] * 30)["flat"]
    assert not overload.flatness(filling + [130.0] * 30 + [137.0] * 30)["flat"]
    assert not overload.flatness([100.0 + n for n in range(90)])["flat"]
    assert not overload.flatness([1.0, 1.0])["flat"], "too few samples show nothing"


def test_memory_that_grows_is_said() -> None:
    found: dict[str, Any] = {
        "sustained_events_per_s": 4_000, "asked_events_per_s": 8_000, "events_per_s": 7_900, "seconds": 180.0,
        "events": 1_422_000, "requests": 142_200, "too_late": 90_000, "unanswered_after_drain": 0,
    }  # fmt: skip
    steady = {"middle_mb": 200.0, "last_mb": 201.0, "max_mb": 210.0, "flat": True}
    assert "GROWS" not in overload.show({**found, "memory": {"control": steady}})
    assert "GROWS" in overload.show({**found, "memory": {"control": {**steady, "last_mb": 300.0, "flat": False}}})


@pytest.mark.parametrize(
    ("p99", "held", "refused", "kept"), [(99.0, 100, 100, True), (101.0, 100, 100, False), (50.0, 100, 99, False)]
)
def test_a_revocation_that_is_slow_or_never_comes_is_said(p99: float, held: int, refused: int, kept: bool) -> None:
    times = {**dict.fromkeys(("p50", "p95", "p99", "max"), p99), "count": refused}
    found = {
        "rate": 1_000, "grants_held": held, "refused": refused, "latency_ms": times, "of_it_from_the_entry_ms": times,
        "not_held": {},
    }  # fmt: skip
    assert ("NOT HELD" not in revocation.show(found)) == kept


def test_what_revocation_asks_is_permitted_and_what_it_tells_revokes_that_grant() -> None:
    traffic, partition, offset = Traffic("t", 3, seed=1), Partition(0, MemoryRows(), COURT), 0

    def hear(value: Record, at: int) -> list[Record]:
        nonlocal offset
        admitted = admit(value, Source(topic="", partition=0, offset=offset), at, {})
        assert isinstance(admitted, Admitted)
        outputs = partition.apply(admitted.entries[0], offset)
        offset += 1
        return [output.value for output in outputs]

    hear(activation(), NOW)
    for step in traffic.opening():
        hear(step(NOW).value, NOW)
    lead = LeadId("t-1")
    (asked,) = [v for v in hear(revocation.ask(traffic, lead, NOW).value, NOW) if isinstance(v, Decision)]
    assert asked.grant is not None
    fell = [v for v in hear(revocation.stop(lead, NOW).value, NOW) if isinstance(v, Revocation)]
    assert asked.grant_id in {v.subject for v in fell if v.scope is RevocationScope.GRANT}


def test_no_revocation_at_all_is_not_held() -> None:
    nothing: dict[str, float] = {"count": 0}
    found = {
        "rate": 1_000, "grants_held": 0, "refused": 0, "latency_ms": nothing, "of_it_from_the_entry_ms": nothing,
        "not_held": {"BLOCK TOO_LATE": 5},
    }  # fmt: skip
    assert "NOT HELD" in revocation.show(found)


def _drained(rate: int, others_s: float = 0.0) -> dict[str, Any]:
    spent = {"control": 170.4, "broker": 90.0, "others": 0.0}
    return {"events_per_s": rate, "seconds": 4.0, "cpu_s": {"others": others_s}, "cpu_us_per_event": spent}


def _scale(others_s: float = 0.0) -> dict[str, Any]:
    audit = {"entries": 10, "bytes_per_event": 333, "entries_per_s": 4_000, "cpu_us_per_event": 200}
    spent = {"control": 170, "broker": 90}
    runs = [
        {"workers": n, "partitions": [8 // n] * n, "drains": [_drained(3_000 * n)], "events_per_s": 3_000 * n,
         "intake_events_per_s": 7_000, "cpu_us_per_event": spent, "rss_mb": 200.0 * n, "audit": audit}
        for n in (1, 2)
    ]  # fmt: skip
    state = {"leads": 10_000, "disk_bytes": 90_000_000, "lead_row_bytes": 80_000_000, "other_row_bytes": 1}
    sizes = {"execution.journal": 700, "crm.events": 40, "telephony.events": 60, "clock.broker": 1}
    live = {"rate": 1_000, "cpu_us_per_event": spent, "bytes_per_event": {**sizes, "execution.journal": 710}}
    kind = [
        {"leads": leads, "drain": _drained(3_000, others_s), "rss_mb": 100.0 + leads / 50, "bytes_per_event": sizes,
         "live": live, "state": state}
        for leads in (1_000, 10_000)
    ]  # fmt: skip
    return {"sizes": {"partitions": 8, "leads": 500}, "workers": runs, "calls": kind, "resting": kind}


def test_what_scale_found_is_told_in_tables() -> None:
    shown = scale_tables.show(_scale())
    rows = [line.split() for line in shown.splitlines()]
    assert ["2", "4+4", "6000", "170", "90", "400.0"] in rows
    assert ["10000", "in", "a", "call", "3000", "170", "90", "300.0", "20.0"] in rows
    assert ["input", "topics", "100", "100"] in rows
    assert ["execution.journal", "710", "700"] in rows
    assert ["all", "topics", "811", "801"] in rows
    assert ["audit", "lake", "333", "333"] in rows
    assert "10000 leads at rest: a row has 8000 bytes; RocksDB's files, flushed, 9000 a lead." in shown
    assert "DISTURBED" not in shown
    assert "DISTURBED" in scale_tables.show(_scale(others_s=1.0))


def test_the_partitions_of_a_worker_are_those_it_told_of_last() -> None:
    assert scale.shared("") == []
    assert scale.shared("control ready: partitions [0, 1, 2, 3]\nx\ncontrol ready: partitions [2, 3]\n") == [2, 3]
    assert scale.shared("control ready: partitions [0]\ncontrol ready: partitions []\n") == []


def test_of_all_traffics_each_lead_gets_the_same_share() -> None:
    events = list(scale.evenly([Traffic("few", 10), Traffic("many", 90)], 1_000))
    assert Counter(event.lead for event in events) == {
        f"{name}-{number}": 10 for name, leads in (("few", 10), ("many", 90)) for number in range(leads)
    }


def test_bytes_of_topics_are_their_records_and_not_their_indexes(tmp_path: Path) -> None:
    sizes = {
        "execution.journal-0/00.log": 10, "execution.journal-0/07.log": 5, "execution.journal-0/00.index": 99,
        "execution.journal-11/00.log": 1, "call.directory-0/00.log": 3, "loose/00.log": 7,
    }  # fmt: skip
    for name, size in sizes.items():
        path = tmp_path / "stack" / "kafka" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    topics = bytes_on_disk.Topics(load_settings(data_dir=tmp_path))
    assert topics.sizes() == {"execution.journal": 16, "call.directory": 3}
    assert topics.grown({"execution.journal": 6, "call.directory": 3}, 2) == {"execution.journal": 5}
    assert bytes_on_disk.directory_bytes(tmp_path) == 125


def test_state_on_the_disk_is_measured_with_what_was_still_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "state" / "machine-0" / "some-cluster" / f"{TABLE}-3.db"
    path.parent.mkdir(parents=True)
    database = bytes_on_disk.open_database(path)
    for number in range(100):
        database.put(LEAD_PREFIX + b"lead-%d" % number, random.Random(number).randbytes(1_000))
        database.put(TIMER_PREFIX + b"lead-%d" % number, b"1795000000000000")
    database.close()
    found = bytes_on_disk.state(load_settings(data_dir=tmp_path))
    assert (found.leads, found.lead_row_bytes, found.other_row_bytes) == (100, 100_000, 1_600)
    assert 100_000 < found.disk_bytes < 130_000

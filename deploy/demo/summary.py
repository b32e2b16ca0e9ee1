"""What came of it: `summary.json`, and the verdict on the run itself."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo import claims
from deploy.demo.cast import Lead
from deploy.demo.evidence import Evidence, LeadEvidence
from deploy.demo.gather import EVENT_TOPICS
from deploy.demo.kinds import Kind
from deploy.demo.office import Tally
from deploy.demo.times import WAVES
from schemas.jsonio import iso
from schemas.records import TimeUs

_TOP_CODES = 3


@dataclass(frozen=True, slots=True)
class KindRow:
    """What became of one kind, counted. failed: what does not hold of it."""

    name: str
    title: str
    claim: str
    leads: int
    permits: int
    defers: int
    blocks: int
    codes: tuple[tuple[str, int], ...]
    revocations: int
    escalations: int
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stores:
    """What the stores hold after the run. audit: a report of `sinks.audit.completeness`."""

    crm_updates: int
    audit: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that a run ends with."""

    summary: Mapping[str, Any]
    kinds: tuple[KindRow, ...]
    faults: tuple[str, ...]


def conclude(
    evidence: Evidence, counted: Mapping[str, int], stores: Stores, tally: Tally, cast: Mapping[str, Lead],
    wall_s: float, ended_at: TimeUs,
) -> Outcome:  # fmt: skip
    """The summary of a run, and its faults: a request without a decision, a lake that lacks a record, a claim."""
    failed = claims.failures(evidence, cast)
    kinds = tuple(_row(kind, leads, failed.get(kind.name, [])) for kind, leads in evidence.by_kind().items())
    malformed = claims.malformed_failures(evidence)
    total = evidence.total()
    summary = {
        "events": sum(counted[topic] for topic in EVENT_TOPICS),
        "requests": total["requests"],
        "decisions": {verdict: total[verdict] for verdict in ("PERMIT", "DEFER", "BLOCK")},
        "decision_latency_ms": _latency(tally.latencies_ms),
        "revocations": total["revocations"],
        "escalations": total["escalations"],
        "crm_updates": stores.crm_updates,
        "audit_records": stores.audit["records"],
        "audit_complete": stores.audit["complete"],
        "dead_letters": len(evidence.dead_letters),
        "requests_without_decision": len(evidence.undecided()),
        "defers_without_end": len(evidence.open_defers()),
        "system_decisions": total["system_decisions"],
        "leads": sum(row.leads for row in kinds),
        "topics": dict(counted),
        "timing": {"wall_s": round(wall_s, 1), "journal_from": iso(WAVES[0]), "journal_to": iso(ended_at)},
        "dead_letter_codes": dict(Counter(letter.code.value for letter in evidence.dead_letters.values())),
        "kinds": {row.name: _plain(row) for row in kinds},
        "malformed_failed": malformed,
    }
    faults = _faults(evidence, summary, kinds, malformed)
    if tally.unanswered:
        lost = tally.unanswered
        faults.append(f"{len(lost)} answers did not reach their agent, that to {lost[0]} among them.")
    return Outcome(summary, kinds, tuple(faults))


def _row(kind: Kind, leads: list[LeadEvidence], failed: list[str]) -> KindRow:
    verdicts = Counter(d.verdict.value for lead in leads for d in lead.agents_decisions)
    codes: Counter[str] = Counter()
    for lead in leads:
        codes.update({code.value: count for code, count in lead.codes().items()})
    return KindRow(
        name=kind.name,
        title=kind.title,
        claim=kind.claim,
        leads=len(leads),
        permits=verdicts["PERMIT"],
        defers=verdicts["DEFER"],
        blocks=verdicts["BLOCK"],
        codes=tuple(codes.most_common(_TOP_CODES)),
        revocations=sum(len(lead.revocations) for lead in leads),
        escalations=sum(len(lead.case_ids) for lead in leads),
        failed=tuple(failed),
    )


def _plain(row: KindRow) -> dict[str, Any]:
    return {
        "leads": row.leads,
        "decisions": {"PERMIT": row.permits, "DEFER": row.defers, "BLOCK": row.blocks},
        "codes": dict(row.codes),
        "revocations": row.revocations,
        "escalations": row.escalations,
        "claim": row.claim,
        "holds": not row.failed,
        "failed": list(row.failed),
    }


def _latency(samples: list[float]) -> dict[str, float]:
    ordered = sorted(samples) or [0.0]
    return {f"p{part}": round(ordered[(len(ordered) - 1) * part // 100], 1) for part in (50, 99)}


def _faults(
    evidence: Evidence, summary: Mapping[str, Any], kinds: tuple[KindRow, ...], malformed: list[str]
) -> list[str]:
    found = []
    if undecided := evidence.undecided():
        found.append(f"{len(undecided)} requests have no decision, {undecided[0]} among them.")
    if waiting := evidence.open_defers():
        found.append(f"{len(waiting)} defers have not ended, that of {waiting[0]} among them.")
    if not summary["audit_complete"]:
        found.append("The audit lake does not hold exactly what the topics hold.")
    found += [f"{row.title}: {row.failed[0]} ({len(row.failed)} of {row.leads} leads)." for row in kinds if row.failed]
    found += [f"Malformed records: {line}." for line in malformed]
    return found


def write(outcome: Outcome, path: Path) -> None:
    """Writes the summary, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(outcome.summary, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)

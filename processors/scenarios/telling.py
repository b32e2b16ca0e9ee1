"""How a scenario that failed reads: what was expected, what came, why, and what happened."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from processors.facts import kind_of
from processors.scenarios.finding import Finding
from processors.scenarios.tale import Tale, Told, is_heartbeat
from processors.timing import zone
from schemas.records import (
    AgentRequest,
    Decision,
    Directive,
    EscalationCase,
    PolicyActivation,
    Record,
    Revocation,
    Tick,
    TimeUs,
    Transition,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TELLING = ("type", "status", "text", "result", "subject", "answered_by", "cause", "author", "fulfilled", "segment_id")
MAX_LINES = 60
"""Lines of a timeline; the beginning is left out of a longer one."""


def tell(name: str, where: str, findings: Iterable[Finding], tale: Tale, zone_name: str) -> str:
    """The report of one failed scenario."""
    lines = [f"FAILED  {name}", f"  {where}"]
    told_before: tuple[str, ...] = ()
    for finding in findings:
        lines += [
            f"  {finding.where}  {finding.what}",
            f"    expected  {finding.expected}",
            f"    came      {finding.came}",
        ]
        if finding.because != told_before:
            lines += [f"    {'because ' if not i else '        '}  {line}" for i, line in enumerate(finding.because)]
        told_before = finding.because
    return "\n".join([*lines, *what_happened(tale, zone_name)])


def what_happened(tale: Tale, zone_name: str) -> list[str]:
    """The end of the journal in words; of what was given only the answers are told."""
    timeline = list(_timeline(tale, zone_name))
    shortened = ["    ..."] if len(timeline) > MAX_LINES else []
    return [f"  what happened ({zone_name}):", *shortened, *timeline[-MAX_LINES:]]


def _timeline(tale: Tale, zone_name: str) -> Iterator[str]:
    for index, told in enumerate(tale.told):
        values = [output.value for output in told.outputs if not is_heartbeat(output.value)]
        if index < tale.given_end:
            values = [value for value in values if isinstance(value, Decision)]
        shown = [text for value in values if (text := _output(value))]
        if isinstance(told.entry.body, Tick) and not shown:
            continue
        given = "(given) " if index < tale.given_end else ""
        yield f"    {_clock(told.entry.at, zone_name)}  {given}{_entry(told)}"
        yield from (f"    {' ' * 17}  -> {text}" for text in shown)


def _clock(at: TimeUs, zone_name: str) -> str:
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone(zone_name) or UTC).strftime("%a %m-%d %H:%M:%S")


def _entry(told: Told) -> str:
    body = told.entry.body
    if isinstance(body, AgentRequest):
        return f"{body.agent_id} asks {body.action} as {body.role} on {body.channel} ({body.request_id})"
    if isinstance(body, PolicyActivation):
        return f"policy {body.version}, revision {body.revision}"
    if isinstance(body, Tick):
        return "time passes"
    fields = [value if isinstance(value, str) else ", ".join(value) for name in _TELLING if (value := _get(body, name))]
    return f"{told.entry.lead_id}: {told.entry.kind.lower()} {' '.join(fields)}"


def _get(body: Record, name: str) -> str | tuple[str, ...] | None:
    found: str | tuple[str, ...] | None = getattr(body, name, None)
    return found


def _output(value: Record) -> str:
    if isinstance(value, Decision):
        codes = sorted({reason.code.value for criterion in value.criteria for reason in criterion.reasons})
        return f"{value.request_id}: {value.verdict} {', '.join(codes)}".rstrip()
    if isinstance(value, Transition):
        if kind_of(value.fact.partition("/")[0]) is None:
            return ""  # a part of the row; what it means is told by the record of its own
        return f"{value.fact}: {value.old_value or 'absent'} -> {value.new_value or 'absent'}"
    if isinstance(value, Directive):
        return f"directive {value.type} {value.speech_mode or ''} ({value.code}) {value.message}"
    if isinstance(value, Revocation):
        return f"revoked {value.scope} {value.subject} ({value.code})"
    if isinstance(value, EscalationCase):
        return f"case {value.cause}: {value.status}"
    return ""

"""What the person at the terminal sees: progress while it runs, and what came of it."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.demo.broken import TITLES
from deploy.demo.office import Tally
from deploy.demo.summary import KindRow, Outcome
from deploy.demo.times import moment
from deploy.local.progress import Console as StackConsole
from schemas.records import TimeUs

_WIDE = 150
_LINE_EVERY_S = 5.0
_VERDICTS = (("PERMIT", "green"), ("DEFER", "yellow"), ("BLOCK", "red"))


class Progress:
    """Steps of the run on stderr: a live line on a terminal, a plain line every five seconds elsewhere."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._said_at = 0.0
        self._live: Live | None = None
        self._now: TimeUs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.rest()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def say(self, message: str) -> None:
        """One step."""
        self.rest()
        self._console.print(Text(f"{self.elapsed_s:5.1f} s  ", style="dim") + Text(message, style="default"))

    def moved(self, now: TimeUs) -> None:
        """Journal time moved."""
        self._now = now
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=8, transient=True)
                self._live.start()
            self._live.update(self._line())
        elif time.monotonic() - self._said_at > _LINE_EVERY_S:
            self._said_at = time.monotonic()
            self._console.print(self._line())

    def rest(self) -> None:
        """Ends the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self) -> Text:
        line = Text(f"{self.elapsed_s:5.1f} s  ", style="dim")
        line.append(
            f"{moment(self._now):%a %H:%M:%S} UTC in the journal  {self._tally.sent:,} events  ", style="default"
        )
        for name, style in _VERDICTS:
            line.append(f"{name} {self._tally.verdicts[name]:,}  ", style=style)
        return line


class StackProgress:
    """The local stack's steps, shown among the demo's."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._transfers = StackConsole()

    def say(self, message: str) -> None:
        """One step."""
        self._progress.say(message)

    def transfer(self, done: int, total: int) -> None:
        """A download."""
        self._transfers.transfer(done, total)


def show(outcome: Outcome, ways_on: Iterable[str]) -> None:
    """The summary on stdout."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    for part in (_kinds(outcome.kinds), _malformed(outcome.summary), _figures(outcome.summary)):
        console.print()
        console.print(part)
    for line in ways_on:
        console.print(line, soft_wrap=True)
    for fault in outcome.faults:
        console.print(Text(f"FAILED  {fault}", style="bold red"), soft_wrap=True)
    if not outcome.faults:
        held = "Every request has its decision, the audit lake is complete, and every claim holds."
        console.print(Text(held, style="bold green"))


def _table(title: str, **options: Any) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, **options)


def _kinds(rows: Iterable[KindRow]) -> Table:
    table = _table("What became of each kind of lead")
    table.add_column("leads", justify="right")
    table.add_column("what happens")
    for name, style in (("permit", "green"), ("defer", "yellow"), ("block", "red"), ("revoked", ""), ("cases", "")):
        table.add_column(name, justify="right", style=style)
    table.add_column("most frequent reasons")
    table.add_column("claim")
    for row in rows:
        reasons = ", ".join(f"{code} {count}" for code, count in row.codes[:2])
        mark = Text("✗ ", style="bold red") if row.failed else Text("✓ ", style="green")
        counts = (row.permits, row.defers, row.blocks, row.revocations, row.escalations)
        shown = (str(count) if count else "·" for count in counts)
        table.add_row(str(row.leads), row.title, *shown, reasons, mark + Text(row.claim, style="default"))
    return table


def _malformed(summary: Mapping[str, Any]) -> Table:
    found = Counter(summary["dead_letter_codes"])
    table = _table("Malformed records, as dead letters", show_header=False)
    table.add_column(justify="right")
    for code, title in TITLES.items():
        table.add_row(str(found[code.value]), title, code.value)
    return table


def _figures(summary: Mapping[str, Any]) -> Table:
    decisions, latency, timing = summary["decisions"], summary["decision_latency_ms"], summary["timing"]
    verdicts = ", ".join(f"{decisions[name]:,} {name}" for name, _ in _VERDICTS)
    begun, ended = timing["journal_from"][11:16], timing["journal_to"][11:16]
    complete = "complete" if summary["audit_complete"] else "NOT complete"
    table = _table("In figures, counted from topics and stores", show_header=False)
    table.add_column(justify="right")
    rows: tuple[tuple[int, str], ...] = (
        (summary["leads"], f"leads, {begun} to {ended} UTC of journal time"),
        (summary["events"], "events of platforms, detectors, the CRM and people"),
        (summary["requests"], f"requests of agents: {verdicts}"),
        (summary["revocations"], "revocations"),
        (summary["escalations"], "cases for people"),
        (summary["crm_updates"], "CRM writes applied"),
        (summary["audit_records"], f"audit records, {complete}"),
        (summary["dead_letters"], "dead letters"),
    )
    for count, what in rows:
        table.add_row(f"{count:,}", what)
    told = "ms from an agent's request to its verdict, half of them; 99 % within"
    table.add_row(f"{latency['p50']:g}", f"{told} {latency['p99']:g} ms: bursts, everything on one machine")
    return table

"""What the person at the terminal sees: progress while it runs, and what came of it."""

import sys
import time
from collections import Counter
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
from schemas.records import TimeUs

_WIDE = 132
_LINE_EVERY_S = 5.0


class Progress:
    """Steps of the run on stderr: a live line on a terminal, a plain line every five seconds elsewhere."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._console = Console(stderr=True, highlight=False)
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
        self._console.print(f"[dim]{self.elapsed_s:5.1f} s[/]  {message}")

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
        counts = self._tally.verdicts
        told = f"{self.elapsed_s:5.1f} s  journal {moment(self._now):%d %b %H:%M:%S} UTC   {self._tally.sent:,} events   "
        line = Text(told)
        for name, style in (("PERMIT", "green"), ("DEFER", "yellow"), ("BLOCK", "red")):
            line.append(f"{name} {counts[name]:,}  ", style=style)
        return line


class StackProgress:
    """The local stack's steps, shown among the demo's."""

    def __init__(self, progress: Progress) -> None:
        from deploy.local.progress import Console as StackConsole

        self._progress = progress
        self._transfers = StackConsole()

    def say(self, message: str) -> None:
        self._progress.say(message)

    def transfer(self, done: int, total: int) -> None:
        self._transfers.transfer(done, total)


def show(outcome: Outcome, ways_on: list[str]) -> None:
    """The summary on stdout."""
    width = None if sys.stdout.isatty() else _WIDE
    console = Console(highlight=False, width=width)
    console.print()
    console.print(_kinds(outcome.kinds))
    console.print(_malformed(outcome.summary))
    console.print(_figures(outcome.summary))
    for line in ways_on:
        console.print(line, soft_wrap=True)
    for fault in outcome.faults:
        console.print(Text(f"FAILED  {fault}", style="bold red"), soft_wrap=True)
    if not outcome.faults:
        console.print(Text("Every request has its decision, the audit lake is complete, and every claim holds.", style="bold green"))


def _kinds(rows: tuple[KindRow, ...]) -> Table:
    table = Table(title="What became of each kind of lead", title_justify="left", box=None, pad_edge=False)
    table.add_column("leads", justify="right")
    table.add_column("what happens")
    for name, style in (("permit", "green"), ("defer", "yellow"), ("block", "red"), ("revoked", ""), ("cases", "")):
        table.add_column(name, justify="right", style=style)
    table.add_column("most frequent reasons")
    table.add_column("claim")
    for row in rows:
        reasons = ", ".join(f"{code} {count}" for code, count in row.codes[:2])
        claim = Text("✗ " if row.failed else "✓ ", style="red" if row.failed else "green") + Text(row.claim, style="default")
        counts = (row.permits, row.defers, row.blocks, row.revocations, row.escalations)
        table.add_row(str(row.leads), row.title, *(str(count) if count else "·" for count in counts), reasons, claim)
    return table


def _malformed(summary: Any) -> Table:
    found = Counter(summary["dead_letter_codes"])
    table = Table(title="Malformed records", title_justify="left", box=None, pad_edge=False)
    for name in ("dead letters", "code", "what was sent"):
        table.add_column(name, justify="right" if name == "dead letters" else "left")
    for code, title in TITLES.items():
        table.add_row(str(found[code.value]), code.value, title)
    return table


def _figures(summary: Any) -> Table:
    decisions, latency, timing = summary["decisions"], summary["decision_latency_ms"], summary["timing"]
    table = Table(title="In figures, counted from topics and stores", title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    rows = (
        (f"{summary['leads']:,}", f"leads, {timing['journal_from'][11:16]} to {timing['journal_to'][11:16]} UTC of journal time"),
        (f"{summary['events']:,}", "events"),
        (f"{summary['requests']:,}", f"requests: {decisions['PERMIT']:,} permits, {decisions['DEFER']:,} defers, {decisions['BLOCK']:,} blocks"),
        (f"{latency['p50']:g} ms", f"from request to verdict, half of them; 99 % within {latency['p99']:g} ms, in bursts on a shared machine"),
        (f"{summary['revocations']:,}", f"revocations, {summary['escalations']:,} cases for people"),
        (f"{summary['crm_updates']:,}", "CRM writes applied"),
        (f"{summary['audit_records']:,}", f"audit records, {'complete' if summary['audit_complete'] else 'NOT complete'}"),
        (f"{summary['dead_letters']:,}", "dead letters"),
    )
    for row in rows:
        table.add_row(*row)
    return table

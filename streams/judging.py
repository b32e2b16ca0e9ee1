"""What the thread that reads the journal does, in small pieces: whoever waits for something waits for one piece.

First what somebody waits for, then the other entries, then what makes landings ready. Under a backlog there is always
another entry: then a landing that has waited long enough gets as much time as the entries.
"""

import time

from streams import garbage
from streams.lane import Lane

ENOUGH = 200
"""Entries in line with which no more are looked for: a landing begins when nobody is in line."""
_TURN_S = 0.002
_PIECE_S = 0.0003
"""How long it may be until the thread looks for new entries: while entries are in line, and while landings are made
ready."""
_LATE_S = 0.05
_OVERDUE_S = 0.2
"""So long a landing that is due waits until nobody happens to be in line; then no more is read until it is so."""
_LOOK_AFTER = 64
"""Entries after which Python looks for garbage."""
_IDLE_S = 0.05


class Judging:
    """The lanes of a worker that have something to do, open or closed. Used by the thread that reads only."""

    def __init__(self) -> None:
        self._busy: list[Lane] = []
        self._judged = 0

    def add(self, lane: Lane) -> None:
        """A lane has taken entries."""
        if lane not in self._busy:
            self._busy.append(lane)

    def has_room(self) -> bool:
        """Whether more entries may be put in line: not while a landing has waited too long until nobody is in it."""
        in_line = sum(lane.in_line for lane in self._busy)
        return not in_line or (in_line < ENOUGH and not self._is_landing_overdue())

    def work(self) -> float:
        """Does a little of what is to be done; answers for how many seconds nothing more is, 0 when something is."""
        now = time.monotonic()
        left = self._judge(now + _TURN_S)
        now = time.monotonic()
        for lane in self._busy:
            if not lane.in_line and lane.lands_in(now) == 0:
                lane.begin_landing(now)
        self._prepare(now, _TURN_S if left else _PIECE_S, late_only=left)
        self._busy = [lane for lane in self._busy if not lane.is_done]
        if left or any(lane.is_preparing for lane in self._busy):
            return 0.0
        return min((due for lane in self._busy if (due := lane.lands_in(now)) is not None), default=_IDLE_S)

    def _judge(self, until: float) -> bool:
        """Whether entries are left."""
        lanes = [lane for lane in self._busy if lane.in_line]
        while lanes:
            lane = lanes[0] if len(lanes) == 1 else next((lane for lane in lanes if lane.is_awaited), lanes[0])
            lane.judge()
            self._judged += 1
            if self._judged % _LOOK_AFTER == 0:
                garbage.look()
            if not lane.in_line:
                lanes.remove(lane)
            if time.monotonic() >= until:
                break
        return bool(lanes)

    def _prepare(self, now: float, for_s: float, *, late_only: bool) -> None:
        until = now + for_s
        for lane in self._busy:
            if late_only and lane.prepares_for(now) < _LATE_S:
                continue
            while lane.is_preparing:
                lane.prepare()
                if time.monotonic() >= until:
                    return

    def _is_landing_overdue(self) -> bool:
        before = time.monotonic() - _OVERDUE_S
        return any(lane.in_line and lane.lands_in(before) == 0 for lane in self._busy)

"""How an agent may behave right now: the last known speech mode and order, by lead and conversation."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from schemas.records import Decision, Directive, DirectiveType, SpeechMode

T = TypeVar("T")
_MAX_REMEMBERED = 50_000


class _Latest(Generic[T]):
    """The latest value by journal offset for each conversation, None standing for all of a lead's."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str | None], tuple[int, T]] = OrderedDict()

    def put(self, lead_id: str, conversation_id: str | None, offset: int, value: T) -> None:
        place = (lead_id, conversation_id)
        if place in self._known and self._known[place][0] > offset:
            return
        self._known[place] = (offset, value)
        self._known.move_to_end(place)
        if len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)

    def get(self, lead_id: str, conversation_id: str | None) -> T | None:
        places = {(lead_id, conversation_id), (lead_id, None)}
        found = [self._known[place] for place in places if place in self._known]
        return max(found, key=lambda item: item[0])[1] if found else None


class Conduct:
    """What decisions and directives said last. Pure state, safe to share between threads.

    Both carry their place in the lead's journal, so the later one wins in whichever order they are read.
    """

    def __init__(self) -> None:
        self._modes: _Latest[SpeechMode] = _Latest()
        self._orders: _Latest[Directive] = _Latest()
        self._lock = threading.Lock()

    def observe_decision(self, decision: Decision) -> None:
        """Take the speech mode that holds after a decision."""
        with self._lock:
            self._modes.put(decision.lead_id, decision.conversation_id, decision.position.offset, decision.speech_mode)

    def observe_directive(self, directive: Directive) -> None:
        """Take an order, or a change of speech mode (one without a mode counts as SILENT)."""
        place = (directive.lead_id, directive.conversation_id, directive.position.offset)
        with self._lock:
            if directive.type is DirectiveType.SPEECH_MODE:
                self._modes.put(*place, directive.speech_mode or SpeechMode.SILENT)
            else:
                self._orders.put(*place, directive)

    def speech_mode(self, lead_id: str, conversation_id: str | None) -> SpeechMode | None:
        """The last known mode; None when nothing has been said yet."""
        with self._lock:
            return self._modes.get(lead_id, conversation_id)

    def standing_order(self, lead_id: str, conversation_id: str | None) -> Directive | None:
        """The PAUSE, HOLD or STOP in force; None after a RELEASE and when there was none."""
        with self._lock:
            order = self._orders.get(lead_id, conversation_id)
        return None if order is None or order.type is DirectiveType.RELEASE else order

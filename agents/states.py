"""The public view of every lead, kept up to date from the compacted topic execution.state."""

from collections.abc import Mapping

from confluent_kafka import Message

from agents.errors import MandateUnavailable
from agents.tail import Tail
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.records import ExecutionState

_READY_S = 60.0


class StateView:
    """Last known state by lead; holds every lead of the deployment in memory. To show, not to decide by."""

    def __init__(self, kafka: Mapping[str, str | int], codec: Codec) -> None:
        self._codec = codec
        self._states: dict[str, ExecutionState] = {}
        self._lost: Exception | None = None
        topics = (TOPIC_OF[ExecutionState],)
        self._tail = Tail(kafka, topics, start="beginning", take=self._take, lost=self._lose)

    def begin(self) -> None:
        """Read what there is; MandateUnavailable when that takes more than a minute."""
        self._tail.begin()
        if not self._tail.wait_caught_up(_READY_S):
            self._tail.stop()
            raise MandateUnavailable(f"execution.state could not be read within {_READY_S:g} s: check the brokers")

    def get(self, lead_id: str) -> ExecutionState | None:
        """The lead's state; None when Mandate has not heard of the lead."""
        if self._lost is not None:
            raise MandateUnavailable(f"execution.state can't be read ({self._lost}): make a new client")
        return self._states.get(lead_id)

    def stop(self) -> None:
        """End the reading."""
        self._tail.stop()

    def _take(self, message: Message) -> None:
        value = message.value()
        if value is None:
            self._states.pop((message.key() or b"").decode("utf-8", "replace"), None)
            return
        state = self._codec.decode(ExecutionState, value)
        self._states[state.lead_id] = state

    def _lose(self, error: Exception) -> None:
        self._lost = error

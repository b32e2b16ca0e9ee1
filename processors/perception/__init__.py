"""Perception: from a provider's raw payload to canonical events. One module a provider, each a pure function.

What an adapter can't read is a `PayloadError`; what it can read but the vocabulary has no word for is an UNKNOWN
event that keeps the provider's name. Judging events is not its business.
"""

from collections.abc import Callable, Mapping

from processors.perception import deepgram, telnyx, twilio
from processors.perception.payload import CallKey, Claim, Event, Payload, PayloadError, Perception, payload_of

__all__ = ["ADAPTERS", "CallKey", "Claim", "Event", "Payload", "PayloadError", "Perception", "payload_of"]

Adapter = Callable[[Payload], Perception]

ADAPTERS: Mapping[str, Adapter] = {
    twilio.PROVIDER: twilio.perceive,
    telnyx.PROVIDER: telnyx.perceive,
    deepgram.PROVIDER: deepgram.perceive,
}
"""The adapter of each provider. A new provider is a module and a line here."""

"""How a call looks to each provider: the same moments, told in four ways.

A shape turns one moment of a call into what its provider would send; an empty list where it says nothing about it.
"""

from collections.abc import Callable, Mapping

from deploy.demo.emission import Emission
from deploy.demo.shapes import deepgram, telnyx, twilio, typed
from deploy.demo.shapes.moments import Line, Moment

__all__ = ["STYLES", "Line", "Moment", "Shape", "conversation_of"]

Shape = Callable[[Line, Moment], list[Emission]]

STYLES: Mapping[str, tuple[Shape, Shape]] = {
    "twilio": (twilio.voice, twilio.ears),
    "twilio+deepgram": (twilio.streamed_voice, deepgram.ears),
    "telnyx": (telnyx.voice, telnyx.ears),
    "typed": (typed.voice, typed.ears),
}
"""Styles of a line: who tells of the call, and who transcribes it."""

_PROVIDERS = {"twilio": twilio, "twilio+deepgram": twilio, "telnyx": telnyx, "typed": typed}


def conversation_of(style: str, line: Line) -> str:
    """The conversation that intake will name after this line's call."""
    provider = _PROVIDERS[style]
    return f"{provider.PROVIDER}:{provider.call_id(line)}"

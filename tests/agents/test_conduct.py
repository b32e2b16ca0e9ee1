"""The last word on how to behave, in whichever order words are read."""

import itertools

from agents.conduct import Conduct
from schemas.records import DirectiveType, SpeechMode, Verdict
from tests.agents.records import decision, directive, request


def test_nothing_is_known_before_the_first_word() -> None:
    conduct = Conduct()
    assert conduct.speech_mode("lead-1", "call-1") is None
    assert conduct.standing_order("lead-1", "call-1") is None


def test_the_speech_mode_is_that_of_the_latest_place_in_the_journal() -> None:
    permit = decision(request(conversation_id="call-1"), Verdict.PERMIT, number=5, speech_mode=SpeechMode.OPEN)
    hold = directive(DirectiveType.SPEECH_MODE, 7, conversation_id="call-1", speech_mode=SpeechMode.NEUTRAL_HOLDING)
    older = directive(DirectiveType.SPEECH_MODE, 3, speech_mode=SpeechMode.TRANSFER_ONLY)
    for order in itertools.permutations([permit, hold, older]):
        conduct = Conduct()
        for word in order:
            if word is permit:
                conduct.observe_decision(permit)
            else:
                conduct.observe_directive(hold if word is hold else older)
        assert conduct.speech_mode("lead-1", "call-1") is SpeechMode.NEUTRAL_HOLDING


def test_a_word_about_the_lead_holds_for_each_of_its_conversations() -> None:
    conduct = Conduct()
    conduct.observe_directive(directive(DirectiveType.SPEECH_MODE, 1, speech_mode=SpeechMode.TRANSFER_ONLY))
    assert conduct.speech_mode("lead-1", "call-1") is SpeechMode.TRANSFER_ONLY
    assert conduct.speech_mode("lead-2", "call-1") is None


def test_a_change_of_speech_mode_to_nothing_known_is_silence() -> None:
    conduct = Conduct()
    conduct.observe_directive(directive(DirectiveType.SPEECH_MODE, 1, speech_mode=None))
    assert conduct.speech_mode("lead-1", None) is SpeechMode.SILENT


def test_an_order_stands_until_it_is_released() -> None:
    conduct = Conduct()
    pause = directive(DirectiveType.PAUSE, 1, conversation_id="call-1")
    conduct.observe_directive(pause)
    assert conduct.standing_order("lead-1", "call-1") == pause
    assert conduct.standing_order("lead-1", "call-2") is None
    conduct.observe_directive(directive(DirectiveType.RELEASE, 2))
    assert conduct.standing_order("lead-1", "call-1") is None


def test_a_release_from_before_does_not_lift_a_later_stop() -> None:
    conduct = Conduct()
    stop = directive(DirectiveType.STOP, 9)
    conduct.observe_directive(stop)
    conduct.observe_directive(directive(DirectiveType.RELEASE, 4))
    assert conduct.standing_order("lead-1", "call-1") == stop

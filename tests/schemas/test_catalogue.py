"""The topic catalogue: names that must not change, settings that the design rests on."""

from agents.feed import MAX_GRANT_LIFETIME_US
from schemas.catalogue import EVENT_INPUTS, TOPIC_OF, TOPICS
from schemas.codec import BODY_TYPES
from schemas.records import DeadLetter, JournalEntry, PolicyActivation, ProviderWebhook

PERMANENT = """
    perception.raw telephony.events transcription.events messaging.events signal.events crm.events agent.requests
    agent.outcomes human.interventions policy.activations execution.journal call.directory permission.decisions
    permission.revocations agent.directives execution.transitions execution.state escalation.cases crm.updates
    crm.results audit.checkpoints dead.letters clock.driven mandate-control-execution-changelog
"""  # one string: the list is read, not edited


def test_no_topic_is_renamed_or_dropped():
    assert set(PERMANENT.split()) <= set(TOPICS)


def test_each_record_type_has_one_topic():
    values = [topic.value for topic in TOPICS.values() if topic.value]
    assert len(values) == len(set(values)) == len(TOPIC_OF)
    assert TOPIC_OF[JournalEntry] == "execution.journal"


def test_intake_reads_every_input_and_nothing_internal():
    assert "execution.journal" not in EVENT_INPUTS
    assert not [name for name in EVENT_INPUTS if TOPICS[name].internal]
    journaled = {TOPIC_OF[record] for record in BODY_TYPES.values() if record in TOPIC_OF}
    assert journaled | {TOPIC_OF[ProviderWebhook]} == set(EVENT_INPUTS)


def test_changelogs_are_compacted_and_never_expire():
    changelogs = [topic for topic in TOPICS.values() if topic.name.endswith("-changelog")]
    assert changelogs
    for topic in changelogs:
        assert topic.config["cleanup.policy"] == "compact"
        assert "retention.ms" not in topic.config


def test_a_topic_that_every_enforcer_reads_whole_does_not_grow_for_ever_and_keeps_what_still_counts():
    topic = TOPICS["permission.revocations"]
    assert topic.config["cleanup.policy"] == "compact,delete"
    assert int(topic.config["retention.ms"]) > 2 * MAX_GRANT_LIFETIME_US // 1_000


def test_the_journal_is_neither_compacted_nor_stamped_by_the_broker():
    config = TOPICS["execution.journal"].config
    assert config["cleanup.policy"] == "delete"
    assert config["message.timestamp.type"] == "CreateTime"


def test_everything_keyed_by_lead_is_partitioned_alike():
    keyed = [topic for topic in TOPICS.values() if topic.key.startswith("lead_id")]
    assert len(keyed) > 10
    assert {topic.partitions for topic in keyed} == {"P"}


def test_a_dead_letter_may_be_larger_than_any_record_it_holds():
    assert int(TOPICS[TOPIC_OF[DeadLetter]].config["max.message.bytes"]) > 2 * 1_048_588


def test_policy_activations_have_one_total_order():
    assert TOPICS[TOPIC_OF[PolicyActivation]].partitions == 1

"""Who is in the play: leads with zones, consents and lines, drawn from a seed."""

import random
from dataclasses import dataclass

from deploy.demo import emission
from deploy.demo.emission import Emission
from deploy.demo.kinds import KINDS, Kind
from deploy.demo.times import BEAT, OPENING, SECOND, WAVE_BEATS, WAVES
from processors.ids import derive
from schemas.records import Channel, Consent, ConsentType, CrmEvent, CrmEventType, LeadId, TimeUs

SEED = 20_251_119
_Places = tuple[tuple[str, str], ...]
_AWAKE: _Places = (
    ("America/New_York", "US-NY"),
    ("America/Chicago", "US-IL"),
    ("America/New_York", "US-FL"),
    ("Europe/Berlin", "DE"),
    ("Europe/London", "GB"),
)
_ASLEEP: _Places = (("America/Los_Angeles", "US-CA"), ("Asia/Kolkata", "IN"), ("Asia/Tokyo", "JP"))
"""06:30 and 21:10 and 00:40 over there, when the campaign wants to call them."""
_ASLEEP_WAVES = (0, 1, 1)


@dataclass(frozen=True, slots=True)
class Lead:
    """One person in the play. starts_at: when an agent first wants to call."""

    lead_id: LeadId
    kind: Kind
    number: int
    zone: str
    jurisdiction: str
    style: str
    starts_at: TimeUs
    rng: random.Random

    @property
    def external_id(self) -> str:
        """The CRM's id."""
        return f"CRM-{derive('external', self.lead_id)[:10]}"

    @property
    def phone(self) -> str:
        """A number that nobody has."""
        return f"+1555555{int(derive('phone', self.lead_id)[:8], 16) % 10_000:04d}"

    @property
    def allows_sms(self) -> bool:
        """Every second lead consented to text messages in writing."""
        return self.number % 2 == 0


def make_cast(seed: int = SEED) -> list[Lead]:
    """Every lead, in the order of the kinds; the same seed gives the same."""
    return [_lead(kind, number, seed) for kind in KINDS for number in range(kind.count)]


def _lead(kind: Kind, number: int, seed: int) -> Lead:
    rng = random.Random(f"{seed}/{kind.name}/{number}")
    places, wave = _AWAKE, number % len(WAVES)
    if kind.name == "outside_hours":
        places, wave = _ASLEEP, _ASLEEP_WAVES[number % len(_ASLEEP)]
    zone, jurisdiction = places[number % len(places)]
    return Lead(
        lead_id=LeadId(f"{kind.name.replace('_', '-')}-{number + 1:03d}"),
        kind=kind,
        number=number,
        zone=zone,
        jurisdiction=jurisdiction,
        style=kind.styles[number % len(kind.styles)],
        starts_at=WAVES[wave] + rng.randrange(WAVE_BEATS) * BEAT,
        rng=rng,
    )


def introduction(lead: Lead, place: int) -> list[Emission]:
    """What the CRM tells of a lead before anybody calls."""
    at = OPENING + place * SECOND // 100
    consents = [Channel.VOICE, *([Channel.SMS] if lead.allows_sms else [])]
    upserted = CrmEvent(
        event_id=derive("crm", lead.lead_id, "upserted"),
        lead_id=lead.lead_id,
        type=CrmEventType.LEAD_UPSERTED,
        external_id=lead.external_id,
        time_zones=(lead.zone,),
        jurisdictions=(lead.jurisdiction,),
        source="crm",
        occurred_at=at,
        received_at=at,
    )
    return [emission.typed(upserted, at), *(_consented(lead, channel, at + 1000) for channel in consents)]


def _consented(lead: Lead, channel: Channel, at: TimeUs) -> Emission:
    consent = Consent(
        channel=channel,
        type=ConsentType.EXPRESS_WRITTEN,
        proof=f"form/{derive('proof', lead.lead_id)[:12]}",
        given_at=at - 86_400 * SECOND,
    )
    event = CrmEvent(
        event_id=derive("crm", lead.lead_id, "consent", channel),
        lead_id=lead.lead_id,
        type=CrmEventType.CONSENT_RECORDED,
        consent=consent,
        source="crm",
        occurred_at=at,
        received_at=at,
    )
    return emission.typed(event, at)

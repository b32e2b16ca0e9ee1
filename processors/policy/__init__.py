"""The policy language: a bundle as typed data. Nothing is decided here."""

from processors.policy.acting import (
    Action,
    ActionKind,
    FactCondition,
    Limits,
    Obligation,
    Person,
    Role,
    Stage,
)
from processors.policy.bundle import Bundle, CutOff, load_bundle, parse_bundle
from processors.policy.contact import CallingWindow, Contact, Jurisdiction, Regulation, Retry
from processors.policy.model import Model, PolicyError
from processors.policy.rules import (
    AnsweredByCheck,
    Check,
    Condition,
    FactAbsent,
    FactIn,
    FactNotIn,
    FactPresent,
    IntentConfirmed,
    ObligationMet,
    Rule,
    Simple,
    WithinAuthority,
)
from processors.policy.words import Dialogue, Mode, Phrases, Repeated, Signals, Threshold, Trigger

__all__ = [
    "Action", "ActionKind", "AnsweredByCheck", "Bundle", "CallingWindow", "Check", "Condition", "Contact", "CutOff",
    "Dialogue", "FactAbsent", "FactCondition", "FactIn", "FactNotIn", "FactPresent", "IntentConfirmed", "Jurisdiction",
    "Limits", "Mode", "Model", "Obligation", "ObligationMet", "Person", "Phrases", "PolicyError", "Regulation",
    "Repeated", "Retry", "Role", "Rule", "Signals", "Simple", "Stage", "Threshold", "Trigger", "WithinAuthority",
    "load_bundle", "parse_bundle",
]  # fmt: skip

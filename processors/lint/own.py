"""What Mandate does by itself under a bundle: the action that it carries out, its own role."""

from collections.abc import Iterator

from processors.explain.requirement import one_of
from processors.judge import SYSTEM_ROLE
from processors.lint.finding import Finding
from processors.policy import Bundle
from processors.policy.names import CRM_ACTION

_KIND = "record"
"""Kind of what is written and not said: a buyer hears nothing of it."""


def crm_action(bundle: Bundle) -> Iterator[Finding]:
    """The action that Mandate carries out itself: whether it is there, and is one that writes.

    Without it the CRM learns nothing, of an opt-out neither. That is meant only where no role has to do with the CRM.
    """
    action = bundle.actions.get(CRM_ACTION)
    if action is not None and action.kind != _KIND:
        sentence = f"Mandate itself carries it out, as a write to the CRM: its kind must be {_KIND}, not {action.kind}"
        yield Finding(("actions", CRM_ACTION, "kind"), sentence)
    if action is not None:
        return
    missing = f"there is no action {CRM_ACTION!r}"
    writers = [name for name, role in bundle.roles.items() if role.crm_fields and name != SYSTEM_ROLE]
    if SYSTEM_ROLE in bundle.roles:
        yield Finding(("roles", SYSTEM_ROLE), f"{missing}: Mandate can't record an opt-out in the CRM")
    if writers:
        yield Finding(("actions",), f"{missing}: the CRM fields of {one_of(writers)} are never written")
    if SYSTEM_ROLE not in bundle.roles and not writers:
        yield Finding(("actions",), f"{missing}: nothing is written to the CRM, an opt-out neither", is_warning=True)

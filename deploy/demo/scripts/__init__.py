"""What happens to the leads of each kind: one script a kind, named after it."""

from collections.abc import Awaitable, Callable, Mapping

from deploy.demo.scene import Scene
from deploy.demo.scripts import bounds, contact, hearing, order, selling, trouble

Script = Callable[[Scene], Awaitable[None]]

SCRIPTS: Mapping[str, Script] = {
    script.__name__: script
    for script in (
        selling.progress, contact.voicemail, trouble.dropped, trouble.timed_out, trouble.barge_in, trouble.silence,
        hearing.low_confidence, hearing.interim_only, hearing.corrected, order.duplicates, order.out_of_order,
        order.terminal_first, contact.opt_out, contact.outside_hours, contact.rivals, bounds.discount,
        bounds.transfer_closes, bounds.crm_fields, bounds.asks_for_human,
    )
}  # fmt: skip

"""The play: every lead's script, from the introductions by the CRM to the last call of the night."""

from collections.abc import Callable, Sequence

from deploy.demo import broken
from deploy.demo.cast import Lead, introduction
from deploy.demo.conductor import Conductor, Stage
from deploy.demo.office import Client, Office, Tally
from deploy.demo.scene import Scene
from deploy.demo.scripts import SCRIPTS
from deploy.demo.times import OPENING, SECOND
from schemas.records import TimeUs

AFTERMATH: TimeUs = 600 * SECOND
"""Time pushed on after the last script, so that whatever waits or expires has ended."""


class Play:
    """One performance. `now` is the agents' clock, too."""

    def __init__(self, stage: Stage, cast: Sequence[Lead], tally: Tally, moved: Callable[[TimeUs], None]) -> None:
        self._conductor = Conductor(stage, OPENING, moved)
        self._stage = stage
        self._cast = cast
        self._tally = tally

    def now(self) -> TimeUs:
        """Journal time."""
        return self._conductor.now

    async def give(self, client: Client) -> None:
        """Plays everything, with these agents, to the end; raises what went wrong in a script or under it."""
        office = Office(client, self._tally)
        conductor = self._conductor
        for place, lead in enumerate(self._cast):
            conductor.schedule(introduction(lead, place))
        conductor.schedule(broken.malformed())
        for lead in self._cast:
            conductor.spawn(self._scene(lead, office))
        office.open()
        try:
            await conductor.play()
            await self._stage.advance((), self.now() + AFTERMATH)
        finally:
            office.close()

    async def _scene(self, lead: Lead, office: Office) -> None:
        scene = Scene(lead, self._conductor, office.crew(lead.number), office.rival(lead.number), self._tally)
        await self._conductor.sleep_until(lead.starts_at)
        await SCRIPTS[lead.kind.name](scene)

"""The directory of calls: which lead a provider's call belongs to, kept in the compacted topic call.directory.

It is the one thing that intake remembers. Every intake reads the whole topic before its first record and follows
it, so what one of them learned the others know. A call is forgotten a while after it was first heard of.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from schemas.codec import Codec
from schemas.records import CallDirectoryEntry, TimeUs
from streams import Broken, end_process
from streams.kafka import CHECK_BROKERS, follow

if TYPE_CHECKING:
    from deploy.settings import Settings

TOPIC = "call.directory"
KEPT_US: TimeUs = 3 * 24 * 3600 * 1_000_000
"""How long a call is known: as long as `perception.raw` keeps the webhooks that name it. Its topic keeps it longer."""
_CATCH_UP_S = 300.0

Call = tuple[str, str]


class CallDirectory(Mapping[Call, CallDirectoryEntry]):
    """Entries by provider and call id, and the calls that were news since the last look."""

    def __init__(self) -> None:
        self._entries: dict[Call, CallDirectoryEntry] = {}
        self._news: deque[Call] = deque()
        self._by_age: deque[tuple[TimeUs, Call]] = deque()
        self._closed = threading.Event()

    def __getitem__(self, call: Call) -> CallDirectoryEntry:
        return self._entries[call]

    def __iter__(self) -> Iterator[Call]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def learn(self, entry: CallDirectoryEntry) -> None:
        """Adds or replaces an entry; may be called from any thread."""
        call = (entry.provider, entry.call_id)
        if self._entries.get(call) != entry:
            self._entries[call] = entry
            self._news.append(call)
            self._by_age.append((entry.seen_at, call))

    def forget(self, now: TimeUs) -> None:
        """Drops calls that are not kept any longer; one that was learned out of order goes with those before it."""
        while self._by_age and self._by_age[0][0] < now - KEPT_US:
            seen_at, call = self._by_age.popleft()
            known = self._entries.get(call)
            if known is not None and known.seen_at <= seen_at:  # otherwise it was learned anew
                del self._entries[call]

    def take_news(self) -> list[Call]:
        """Calls learned since the last look."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def close(self) -> None:
        """Ends the thread that follows the topic."""
        self._closed.set()

    @property
    def is_closed(self) -> bool:
        """Whether it is followed no more."""
        return self._closed.is_set()


def key(entry: CallDirectoryEntry) -> str:
    """Key of an entry's record."""
    return f"{entry.provider}:{entry.call_id}"


def follow_directory(settings: "Settings", codec: Codec) -> CallDirectory:
    """The whole directory, followed from here on in a daemon thread.

    An entry that can't be read ends the process: events of its call would go to another lead, or to none.
    """
    directory = CallDirectory()
    caught_up = threading.Event()

    def run() -> None:
        try:
            for message in follow(settings, [TOPIC], ready=caught_up.set, stop=lambda: directory.is_closed):
                if message.value() is not None:
                    directory.learn(codec.decode(CallDirectoryEntry, message.value()))
        except Exception as error:
            end_process(error)

    threading.Thread(target=run, name=TOPIC, daemon=True).start()
    if not caught_up.wait(_CATCH_UP_S):
        raise Broken(f"{TOPIC} could not be read within {_CATCH_UP_S:.0f} s.", CHECK_BROKERS)
    directory.take_news()
    return directory

"""The transport under Faust: aiokafka is the member of the group, librdkafka reads the journal and sends.

What Faust would do otherwise, and why it does not suffice here, is in `docs/decisions/transport.md`.
"""

from typing import ClassVar

from faust.transport.drivers import aiokafka as driver

from streams.transport.consumer import Consumer, Fetcher
from streams.transport.producer import Producer


class Transport(driver.Transport):
    """What `App._new_transport` makes: Faust creates both its consumer and its producer from it."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
    Fetcher: ClassVar[type[Fetcher]] = Fetcher
    driver_version = "mandate (aiokafka member, librdkafka reader and producer)"


__all__ = ["Consumer", "Fetcher", "Producer", "Transport"]

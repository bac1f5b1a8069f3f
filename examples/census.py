"""A delivery of one's own: it keeps no mail, but counts how much there is for whom. census.py [ENDPOINT]"""

import sys
from collections import Counter

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Delivery, DeliveryTransaction, Envelope, RelayRule, ReversePath, Session, SMTPFactory


class Census(Delivery):
    """Counts the octets for each domain."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """MAIL has come. What this returns is told all else of the message, up to its end or `abort`."""
        return Counted(self.counts)


class Counted(DeliveryTransaction):
    """One message."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts, self.size = counts, 0

    def open(self, envelope: Envelope) -> None:
        """The message is about to come."""
        self.domains = {recipient.mailbox.host for recipient in envelope.recipients}

    def write(self, octets: bytes) -> None:
        """Some of it has come. Answer with a Deferred, and no more comes until it fires."""
        self.size += len(octets)

    def commit(self) -> None:
        """It has come. When this has answered, the client is told that it was taken."""
        self.counts.update(dict.fromkeys(self.domains, self.size))
        print(dict(self.counts), flush=True)


async def main(reactor: object, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    factory = SMTPFactory(Census(), policies=[RelayRule(["localhost", "example.org"])])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

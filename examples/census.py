"""A delivery of one's own: it keeps no mail, but counts how much there is for whom. census.py [ENDPOINT]"""

import sys
from collections import Counter

from twistsmtp import Delivery, DeliveryTransaction, Envelope, RelayRule, ReversePath, Session, SMTPFactory, serve

counts: Counter[str] = Counter()


class Counted(DeliveryTransaction):
    """One message."""

    def open(self, envelope: Envelope) -> None:
        """The message is about to come."""
        self.domains, self.size = {recipient.mailbox.host for recipient in envelope.recipients}, 0

    def write(self, octets: bytes) -> None:
        """Some of it has come. Answer with a Deferred, and no more comes until it fires."""
        self.size += len(octets)

    def commit(self) -> None:
        """It has come. When this has answered, the client is told that it was taken."""
        counts.update(dict.fromkeys(self.domains, self.size))
        print(dict(counts), flush=True)


class Census(Delivery):
    """Counts the octets for each domain."""

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """MAIL has come. What this returns is told all else of the message, up to its end or `abort`."""
        return Counted()


if __name__ == "__main__":
    serve(SMTPFactory(Census(), policies=[RelayRule(["localhost", "example.org"])]), *sys.argv[1:])

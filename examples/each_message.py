"""Mail within an application: a delivery of one's own calls a function for each message. each_message.py [ENDPOINT]"""

import sys
from email import message_from_bytes
from email.message import Message

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, ReversePath, Session
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule


def on_message(envelope: Envelope, message: Message) -> None:
    """What the application does with mail."""
    print(f"{message['Subject']!r} for {', '.join(map(str, envelope.recipients))}", flush=True)


class _OneMessage(DeliveryTransaction):
    def open(self, envelope: Envelope) -> None:
        self.envelope, self.octets = envelope, bytearray()

    def write(self, octets: bytes) -> None:
        self.octets += octets

    def commit(self) -> None:
        on_message(self.envelope, message_from_bytes(self.octets))


class EachMessage(Delivery):
    """Takes mail from anybody."""

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """A transaction for each message."""
        return _OneMessage()


async def main(reactor: object, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    factory = SMTPFactory(EachMessage(), policies=[RelayRule(["localhost", "example.org"])])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

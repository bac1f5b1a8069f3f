"""A server in memory, and clients to go with it: for tests that are to be quick, and the same every time.

There are no sockets and no threads, and time is a `Clock`, which stands still unless the test moves it::

    class RefusalTests(SynchronousTestCase):
        def test_unknown_recipient(self):
            client = MemoryServer(MyDelivery()).connect()
            client.hello()
            client.say("MAIL FROM:<a@client.test>")
            self.assertEqual(client.say("RCPT TO:<nobody@mx.test>"), ["550 5.1.1 No such user"])

It is the real server: the octets that a client sends are those that a network would bring.
"""

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from twistsmtp.factory import SMTPFactory
from twistsmtp.session import Session
from twistsmtp.testing.inbox import Inbox, ReceivedMessage
from twistsmtp.testing.security import security_for
from twistsmtp.testing.wire import ClientTLS, Wire

__all__ = ["MemoryClient", "MemoryServer", "split_replies"]

#: RFC 5321 section 4.2.
_REPLY = re.compile(rb"(?:(\d{3})-[ -~]*\r\n(?=\1))*[2-5][0-5]\d(?: [ -~]*)?\r\n")


class MemoryServer:
    """A server whose clients are in the same process, and whose time stands still.

    :param delivery: where mail goes; by default an `Inbox`, of which `messages` tells.
    :param factory: what makes connections, in place of one that is made here. Its clock must be a `Clock`, or not be
        chosen yet.
    :param tls: whether it has a certificate, so that TLS can begin.
    :param accounts: passwords by user name. Mail is then taken only from who has authenticated, without TLS, too.
    :param settings: of the `SMTPFactory`.
    :raises ValueError: the factory's clock is another one.
    """

    def __init__(
        self,
        delivery: Any = None,
        *,
        factory: SMTPFactory | None = None,
        tls: bool = False,
        accounts: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.inbox = Inbox()
        if factory is None:
            delivery = self.inbox if delivery is None else delivery
            if tls or accounts:
                settings = {"security": security_for(delivery, tls=tls, accounts=accounts), **settings}
            factory = SMTPFactory(delivery, **{"hostname": "mx.test", "reactor": Clock(), **settings})
        elif delivery is not None or tls or accounts or settings:
            raise TypeError("a factory has its own delivery and settings")
        if factory._reactor is None:
            factory._reactor = Clock()
        if not isinstance(factory._reactor, Clock):
            raise ValueError("the factory has a clock that a test cannot move: make it with reactor=Clock()")
        if not factory._id_prefix:  # else it has the time and the process in it
            factory._id_prefix = "memory"
        self.factory = factory
        self.clock: Clock = factory._reactor
        self._ports = count(50000)

    @property
    def messages(self) -> list[ReceivedMessage]:
        """The messages that have come, unless the delivery is your own."""
        return self.inbox.messages

    def connect(self, peer: IAddress | str = "192.0.2.1", *, tls: bool = False) -> "MemoryClient":
        """A client that has connected.

        :param peer: its IP address, or any address of Twisted's.
        :param tls: whether TLS is what the connection begins with.
        :raises ValueError: the server has no certificate for that.
        """
        if tls and self.factory.security.tls is None:
            raise ValueError("the server has no certificate: MemoryServer(tls=True), or a Security that has one")
        if isinstance(peer, str):
            peer = (IPv6Address if ":" in peer else IPv4Address)("TCP", peer, next(self._ports))
        return MemoryClient(self, peer, tls=tls)

    def advance(self, seconds: float) -> None:
        """Let time pass. What is due meanwhile happens at its time.

        :raises ValueError: *seconds* is less than 0, or no number.
        """
        if not seconds >= 0:
            raise ValueError(f"time does not go by {seconds} seconds")
        end = self.clock.seconds() + seconds
        while due := [each.getTime() for each in self.clock.getDelayedCalls() if each.getTime() <= end]:
            self.clock.advance(max(0.0, min(due) - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())


class MemoryClient:
    """The client's side of a connection. `MemoryServer.connect` makes it."""

    def __init__(self, server: MemoryServer, peer: IAddress, *, tls: bool = False) -> None:
        self.server = server
        self._wire = Wire(server.clock, peer)
        #: What is to go over the wire, and what came and was not read.
        self._outbox = b""
        self._inbox = b""
        self._tls: ClientTLS | None = None
        self._protocol: Any = server.factory.buildProtocol(peer)
        self._wire.connect(self._protocol, server.factory.security.tls if tls else None)
        if tls:
            self.begin_tls()

    @property
    def session(self) -> Session:
        """What the server knows of this client."""
        session: Session = self._protocol.session
        return session

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        self._turn()
        return self._wire.lost

    # --- octets ----------------------------------------------------------------------------------------------

    def send(self, octets: bytes) -> bytes:
        """Send *octets* in one piece, as soon as the server reads.

        :returns: what the server has said since the last time.
        """
        if self._tls is None:
            self._outbox += octets
        else:
            self._tls.say(octets)
        return self.read()

    def read(self) -> bytes:
        """What the server has said since the last time."""
        self._turn()
        octets, self._inbox = self._inbox, b""
        return octets

    def advance(self, seconds: float) -> bytes:
        """Let time pass.

        :returns: what the server has said since the last time.
        """
        self.server.advance(seconds)
        return self.read()

    # --- lines -----------------------------------------------------------------------------------------------

    def say(self, *lines: str | bytes) -> list[str]:
        """Send command *lines*, all in one piece.

        :returns: the replies that are there by now, the greeting among them if nobody has read it: each without its
            last CRLF.
        :raises AssertionError: what the server has said are no replies.
        """
        octets = [line if isinstance(line, bytes) else line.encode() for line in lines]
        return split_replies(self.send(b"".join(each + b"\r\n" for each in octets)))

    def hello(self, name: str = "client.test") -> list[str]:
        """Say EHLO, or LHLO to an LMTP server.

        :returns: the replies, the greeting first.
        """
        return self.say(f"{'LHLO' if self.server.factory.lmtp else 'EHLO'} {name}")

    def send_mail(
        self,
        recipients: str | list[str] = "b@mx.test",
        octets: bytes = b"Subject: a message\r\n\r\nIts text.\r\n",
        *,
        sender: str = "a@client.test",
    ) -> list[str]:
        """Send a message, as far as the server takes it.

        :param octets: the message as it is to arrive: dots are doubled here.
        :returns: the replies to MAIL, each RCPT, DATA and the message.
        """
        them = [recipients] if isinstance(recipients, str) else recipients
        replies = self.say(f"MAIL FROM:<{sender}>")
        replies += [reply for each in them for reply in self.say(f"RCPT TO:<{each}>")]
        replies += self.say("DATA")
        if replies[-1].startswith("354"):
            stuffed = re.sub(rb"^\.", b"..", octets, flags=re.MULTILINE)
            end = b".\r\n" if not octets or octets.endswith(b"\r\n") else b"\r\n.\r\n"
            replies += split_replies(self.send(stuffed + end))
        return replies

    # --- what is not octets ----------------------------------------------------------------------------------

    def start_tls(self) -> None:
        """Say STARTTLS, and begin TLS. No certificate is asked about.

        :raises AssertionError: the server does not let us.
        """
        [reply] = self.say("STARTTLS")[-1:] or ["nothing"]
        if not reply.startswith("220"):
            raise AssertionError(f"STARTTLS was answered by {reply}")
        self.begin_tls()

    def begin_tls(self) -> None:
        """Begin TLS: STARTTLS was said, and answered."""
        self._tls = ClientTLS()
        self._turn()

    def half_close(self) -> None:
        """Close this side only, and read on."""
        self._turn()
        if not self._wire.lost:
            self._wire.receive_end()
        self._turn()

    def close(self) -> None:
        """End the connection."""
        self._turn()
        self._wire.lose(ConnectionDone())

    def vanish(self) -> None:
        """Be gone, without a word."""
        self._wire.lose(ConnectionLost())

    def _turn(self) -> None:
        """Carry octets both ways until there are none."""
        clock, wire = self.server.clock, self._wire
        clock.advance(0)
        busy = True
        while busy:
            came = wire.take()
            if self._tls is None:
                self._inbox += came
            else:
                said, going = self._tls.turn(came)
                self._inbox += said
                self._outbox += going
            busy = bool(came)
            if self._outbox and wire.reading and not wire.lost:
                octets, self._outbox = self._outbox, b""
                wire.receive(octets)
                busy = True
            clock.advance(0)


def split_replies(octets: bytes) -> list[str]:
    """*octets* as whole replies, each without its last CRLF.

    :raises AssertionError: that is not what they are (RFC 5321 section 4.2).
    """
    replies: list[str] = []
    position = 0
    while position < len(octets):
        match = _REPLY.match(octets, position)
        if match is None:
            raise AssertionError(f"not a reply: {octets[position:][:600]!r}")
        replies.append(match[0].decode()[:-2])
        position = match.end()
    return replies

"""A connection's octets and its end."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.client.kit import ALL, GONE, Net, Pipe, result_of
from twistsmtp.client import (
    ClientTLS,
    ConnectError,
    ConnectionLost,
    Connector,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    TimedOut,
    Timeouts,
    TLSError,
    TLSMode,
)
from twistsmtp.client.commands import line
from twistsmtp.client.connection import LINGER, Connection


class Encrypting(Pipe):
    """A transport on which TLS could begin; it is told how."""

    began: Any = None
    error: Exception | None = None

    def startTLS(self, creator: Any) -> None:
        self.began = creator
        if self.error is not None:
            raise self.error


class ConnectionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Encrypting(self.clock, 25)
        self.connection = Connection(self.clock, Timeouts(greeting=5, handshake=7, quit=3, command=11))
        self.transport.protocol = self.connection
        self.transport.other = Pipe(self.clock, 26)
        self.transport.other.protocol = self.transport.other.lost = True
        self.connection.makeConnection(self.transport)

    def greet(self) -> None:
        self.connection.dataReceived(b"220 mx.test\r\n")
        self.assertEqual(result_of(self.connection.greeting).code, 220)

    def fails(self, deferred: "Deferred[Any]", kind: type[Exception]) -> str:
        return str(self.failureResultOf(deferred, kind).value)


class CommandTests(ConnectionTestCase):
    def test_replies_in_order(self) -> None:
        self.greet()
        first, second = self.connection.command("MAIL FROM:<>"), self.connection.command("RCPT TO:<a@b.test>")
        self.assertEqual(b"".join(self.transport.written), b"MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n")
        self.connection.dataReceived(b"250 a\r\n55")
        self.assertEqual(result_of(first).text, "a")
        self.assertNoResult(second)
        self.connection.dataReceived(b"0 b\r\n")
        self.assertEqual(result_of(second).code, 550)

    def test_one_line_each(self) -> None:
        for text in ("NOOP\r\nRSET", "NOOP\n", "NOOP\r", "NOOP\0", "NOOP\x85", "NOOP\u2028"):
            self.assertRaises(ValueError, line, text)
            self.assertRaises(ValueError, self.connection.command, text)
        self.assertEqual(self.transport.written, [])

    def test_each_has_its_time(self) -> None:
        """From when it is its turn."""
        self.clock.advance(4)
        self.greet()
        first, second = self.connection.command("NOOP"), self.connection.command("NOOP")
        self.clock.advance(10)
        self.connection.dataReceived(b"250 OK\r\n")
        result_of(first)
        self.clock.advance(10)
        self.assertNoResult(second)
        self.clock.advance(1)
        self.assertEqual(self.fails(second, TimedOut), "NOOP: no answer in time")
        self.clock.advance(0)
        self.assertTrue(self.transport.lost)

    def test_no_greeting(self) -> None:
        self.clock.advance(5)
        self.fails(self.connection.greeting, TimedOut)

    def test_a_word_unasked(self) -> None:
        self.greet()
        self.connection.dataReceived(b"421 4.3.2 Bye\r\n")
        self.assertIsInstance(self.connection.error, Refused)
        self.fails(self.connection.command("NOOP"), Refused)
        self.fails(self.connection.write(b"x") or Deferred(), Refused)
        self.fails(self.connection.room() or Deferred(), Refused)
        self.connection.dataReceived(b"250 OK\r\n")

    def test_given_up(self) -> None:
        self.greet()
        reply = self.connection.command("NOOP")
        reply.cancel()
        self.fails(reply, ConnectionLost)
        self.assertFalse(self.connection.usable)

    def test_given_up_behind_a_message(self) -> None:
        self.greet()
        [reply] = self.connection.send(b".\r\n", ["end of message"], ends=True)
        self.connection.abort()
        self.fails(reply, OutcomeUnknown)

    def test_at_rest(self) -> None:
        self.greet()
        result_of(self.connection.at_rest())
        self.connection.command("NOOP")
        rest = self.connection.at_rest()
        self.assertNoResult(rest)
        self.connection.dataReceived(b"250 OK\r\n")
        result_of(rest)


class EndTests(ConnectionTestCase):
    def test_quit(self) -> None:
        self.greet()
        gone = self.connection.quit()
        self.assertEqual(self.transport.written, [b"QUIT\r\n"])
        self.connection.dataReceived(b"221 Bye\r\n")
        self.assertNoResult(gone)
        self.clock.advance(0)
        result_of(gone)
        result_of(self.connection.when_gone())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_quit_without_an_answer(self) -> None:
        self.greet()
        gone = self.connection.quit()
        self.clock.advance(3)
        self.clock.advance(0)
        result_of(gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_quit_without_an_end(self) -> None:
        self.patch(self.transport, "loseConnection", lambda: None)
        self.greet()
        gone = self.connection.quit()
        self.connection.dataReceived(b"221 Bye\r\n")
        self.clock.advance(LINGER - 1)
        self.assertNoResult(gone)
        self.clock.advance(1)
        self.clock.advance(0)
        result_of(gone)

    def test_quit_while_something_is_pending(self) -> None:
        self.greet()
        reply = self.connection.command("NOOP")
        gone = self.connection.quit()
        self.fails(reply, ConnectionLost)
        self.clock.advance(0)
        result_of(gone)
        self.assertNotIn(b"QUIT\r\n", self.transport.written)


class HandshakeTests(ConnectionTestCase):
    def begin(self) -> "Deferred[None]":
        self.greet()
        return self.connection.start_tls("creator", verified=True)

    def test_it_takes_too_long(self) -> None:
        handshake = self.begin()
        self.assertEqual(self.transport.began, "creator")
        self.clock.advance(7)
        self.assertEqual(self.fails(handshake, TLSError), "the handshake took too long")

    def test_it_cannot_begin(self) -> None:
        self.transport.error = RuntimeError("no")
        self.assertEqual(self.fails(self.begin(), TLSError), "TLS could not begin: no")

    def test_something_in_front_of_it(self) -> None:
        self.greet()
        self.connection.dataReceived(b"25")
        self.fails(self.connection.start_tls("creator", verified=True), ProtocolError)
        self.assertIsNone(self.transport.began)

    def test_it_is_given_up(self) -> None:
        handshake = self.begin()
        handshake.cancel()
        self.fails(handshake, ConnectionLost)

    def test_the_connection_is_lost(self) -> None:
        handshake = self.begin()
        self.transport.break_off()
        self.assertIn("handshake failed", self.fails(handshake, TLSError))
        self.fails(self.connection.start_tls("creator", verified=True), TLSError)
        self.connection.handshakeCompleted()
        self.assertIsNone(self.connection.tls)

    def test_no_tls_on_this_transport(self) -> None:
        """As on a UNIX socket."""
        net = Net.scripted("STARTTLS", STARTTLS="220 Go")
        with self.assertRaises(TLSError):
            result_of(net.run(net.connector.connect(net.destination(tls=ClientTLS(TLSMode.REQUIRED)))))
        with self.assertRaises(TLSError):
            result_of(net.run(net.connector.connect(net.destination(tls=ClientTLS(TLSMode.IMPLICIT)))))


class OpeningTests(SynchronousTestCase):
    def test_refusals(self) -> None:
        for step, reply, kind in (
            ("greeting", "554 5.3.2 No", Refused),
            ("greeting", "250 OK", ProtocolError),
            ("EHLO", "451 4.3.0 Not now", Refused),
            ("EHLO", GONE, ConnectionLost),
        ):
            net = Net.scripted(*ALL, **{step: reply})
            with self.assertRaises(kind):
                result_of(net.run(net.connector.connect(net.destination())))
            net.turn()
            self.assertTrue(net.ends[0].lost, step)

    def test_a_greeting_in_front_of_tls(self) -> None:
        """What came in plain text is not taken for what comes under TLS."""
        net = Net.scripted(*ALL)
        connect = net.connect

        def later(factory: object) -> "Deferred[Any]":
            made = connect(factory)
            net.turn()
            return made

        self.patch(net, "connect", later)
        with self.assertRaises(TLSError) as caught:
            result_of(net.run(net.connector.connect(net.destination(tls=ClientTLS(TLSMode.IMPLICIT)))))
        self.assertEqual(str(caught.exception), "it greets in plain text")
        self.assertEqual(net.far.heard, [])

    def test_neither_ehlo_nor_helo(self) -> None:
        net = Net.scripted(EHLO="502 5.5.1 What", HELO="502 5.5.1 What")
        with self.assertRaises(Refused) as caught:
            result_of(net.run(net.connector.connect(net.destination())))
        self.assertEqual(caught.exception.step, "HELO")

    def test_no_such_host(self) -> None:
        """What no certificate could be for."""
        net = Net.scripted(*ALL)
        with self.assertRaises(TLSError):
            result_of(net.run(net.connector.connect(net.destination(host="a..b", tls=ClientTLS(TLSMode.REQUIRED)))))
        self.assertEqual(net.fars, [])

    def test_given_up(self) -> None:
        net = Net.scripted(*ALL, EHLO="")
        opening = net.run(net.connector.connect(net.destination()))
        opening.cancel()
        self.failureResultOf(opening, ConnectionLost)
        net.turn()
        self.assertTrue(net.ends[0].lost)
        self.assertEqual(net.clock.getDelayedCalls(), [])

    def test_no_connection_in_time(self) -> None:
        def late(factory: object) -> "Deferred[Any]":
            raise OSError("no route to host")

        net = Net.scripted()
        self.patch(net, "connect", late)
        with self.assertRaises(ConnectError) as caught:
            result_of(net.run(net.connector.connect(net.destination())))
        self.assertEqual(str(caught.exception), "far.test:25: no route to host")


class RealTests(TestCase):
    async def test_nobody_there(self) -> None:
        from twisted.internet import reactor

        for settings in ({"host": "", "path": "/nowhere/lmtp"}, {"host": "127.0.0.1", "port": 1}):
            with self.assertRaises(ConnectError):
                await Connector(reactor).connect(Net.destination(**settings))


class TimeoutsTests(SynchronousTestCase):
    def test_none_can_be_turned_off(self) -> None:
        for name in Timeouts.__dataclass_fields__:
            for seconds in (0, -1):
                self.assertRaises(ValueError, Timeouts, **{name: seconds})

    def test_what_the_rfc_has(self) -> None:
        """RFC 5321 section 4.5.3.2, in minutes."""
        times = Timeouts()
        minutes = [times.greeting, *map(times.of, ("MAIL", "RCPT", "DATA", "end of message")), times.block]
        self.assertEqual([each / 60 for each in minutes], [5, 5, 5, 2, 10, 3])

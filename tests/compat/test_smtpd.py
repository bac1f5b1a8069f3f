"""The standard library's smtpd, over ours: loops, what a server is asked, and proxies."""

import errno
import os
import smtplib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.chunks import COMMANDS, bdat
from tests.compat.old import run_python
from tests.loopback import connect, read_all
from twistsmtp.compat import smtpd
from twistsmtp.compat.smtpd import server as server_module
from twistsmtp.compat.smtpd.proxies import answer_of, with_peer
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import LMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.wire.dotstream import BareNewline

HOST = "127.0.0.1"
PATIENCE = 20


class Keeper(smtpd.SMTPServer):
    """Keeps what it is given, and answers as it was told."""

    status: Any = None

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__((HOST, 0), *(arguments or (None,)), **settings)
        self.box: list[tuple[Any, ...]] = []

    def process_message(self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any) -> Any:
        self.box.append((peer, mailfrom, rcpttos, data, kwargs))
        return self.status() if callable(self.status) else self.status


def port_of(server: smtpd.SMTPServer) -> int:
    port: int = server.socket.getsockname()[1]
    return port


@contextmanager
def client_of(server: smtpd.SMTPServer) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(HOST, port_of(server), "client.test", timeout=PATIENCE) as client:
        yield client


def send(server: smtpd.SMTPServer, data: bytes = b"Subject: x\r\n\r\ntext\r\n") -> Any:
    """The code and the text of the reply to a message."""
    with client_of(server) as client:
        client.ehlo()
        client.mail("a@b", ["body=8bitmime"] if not data.isascii() else [])
        client.rcpt("c@d")
        try:
            return client.data(data)
        except smtplib.SMTPDataError as error:
            return error.smtp_code, error.smtp_error


class Served(TestCase):
    """A loop in a thread, beside trial's own reactor, which it has look after its servers."""

    timeout = 30

    def setUp(self) -> "Deferred[None]":  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        clock: Any = reactor
        return deferLater(clock, 0, lambda: None)  # when it runs

    def serve(self, make: Any = Keeper, *arguments: Any, **settings: Any) -> Any:
        map: dict[int, Any] = {}
        server = make(*arguments, map=map, **settings)
        self.loop(map)
        return server

    def loop(self, map: dict[int, Any]) -> "Deferred[None]":
        """Loop in a thread. The Deferred fires when it has ended."""
        looping = deferToThread(smtpd.loop, 0.1, map=map)

        def end() -> "Deferred[None]":
            smtpd.close_all(map)
            return looping

        self.addCleanup(end)
        return looping


class LoopTests(Served):
    """Loops where a reactor runs already."""

    async def test_serves_and_ends(self) -> None:
        """It ends when its servers are closed, from any thread, and nobody can connect any more."""
        map: dict[int, Any] = {}
        servers = [Keeper(map=map), Keeper(map=map)]
        looping = self.loop(map)
        for server in servers:
            self.assertEqual((250, b"OK"), await deferToThread(send, server))
            port = port_of(server)
            server.close()
            server.close()
            with socket.socket() as client:
                self.assertNotEqual(0, client.connect_ex((HOST, port)))
        await looping
        self.assertEqual({}, map)

    async def test_comes_later(self) -> None:
        """A server that is made while a loop runs is looked after."""
        first = self.serve()
        second = Keeper(map=first._map)
        self.assertEqual((250, b"OK"), await deferToThread(send, second))

    async def test_waits_for_connections(self) -> None:
        """A connection goes on when its server is closed, and the loop with it."""
        map: dict[int, Any] = {}
        server = Keeper(map=map)
        looping = self.loop(map)
        client = await deferToThread(smtplib.SMTP, HOST, port_of(server), "client.test", PATIENCE)
        server.close()
        self.assertEqual((250, b"OK"), await deferToThread(client.noop))
        self.assertFalse(looping.called)
        await deferToThread(client.quit)
        await looping

    async def test_close_all(self) -> None:
        """All that is in a map can be closed."""
        map: dict[int, Any] = {}
        server = Keeper(map=map)
        looping = self.loop(map)
        client = await deferToThread(smtplib.SMTP, HOST, port_of(server), "client.test", PATIENCE)
        smtpd.close_all(map)
        await looping
        with self.assertRaises(smtplib.SMTPServerDisconnected):
            await deferToThread(client.noop)

    async def test_count(self) -> None:
        """It returns after so many turns."""
        map: dict[int, Any] = {}
        server = Keeper(map=map)
        await deferToThread(smtpd.loop, 0.01, map=map, count=2)
        self.assertEqual([server], list(map.values()))
        server.close()

    async def test_in_the_reactor(self) -> None:
        """The thread of a reactor that runs cannot wait for itself."""
        self.assertRaises(RuntimeError, smtpd.loop)


class OwnLoopTests(SynchronousTestCase):
    """Loops that run the reactor themselves, in another process."""

    def test_again_and_again(self) -> None:
        """In one thread after another, and in the main thread: nothing is left of them."""
        program = """
import os, smtplib, threading
from twistsmtp.compat import smtpd

class Server(smtpd.SMTPServer):
    in_thread = True
    def process_message(self, *args, **kwargs):
        return "250 in " + threading.current_thread().name.split("-")[0]

def serve():
    server = Server(("127.0.0.1", 0), None)
    def talk():
        with smtplib.SMTP("127.0.0.1", server.socket.getsockname()[1], "client.test", timeout=20) as client:
            client.sendmail("a@b", ["c@d"], b"x")
        server.close()
    client = threading.Thread(target=talk)
    client.start()
    smtpd.loop(timeout=1)
    client.join()

def descriptors():
    return len(os.listdir("/dev/fd"))

serve()
before = descriptors()
for n in range(30):
    if n % 2:
        serve()
    else:
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
print(threading.active_count(), descriptors() - before, smtpd.socket_map)
"""
        done = run_python(program)
        self.assertEqual("1 0 {}\n", done.stdout, done.stderr)

    def test_signals(self) -> None:
        """What a handler raises to end the program does so, also where an event is dealt with; others go their way."""
        program = """
import os, signal, smtplib, sys, threading
from twistsmtp.compat import smtpd

class Server(smtpd.SMTPServer):
    def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
        os.kill(os.getpid(), number)
        return "250 all the same"

def send():
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.helo("x"), client.mail("a@b"), client.rcpt("c@d")
        said.append(client.data(b"x"))

signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
signal.signal(signal.SIGUSR1, lambda *_: server.close())
before = {number: signal.getsignal(number) for number in signal.valid_signals()}
server = Server(("127.0.0.1", 0), None)
port = server.socket.getsockname()[1]
said = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    client = threading.Thread(target=send)
    client.start()
    try:
        smtpd.loop()
    except BaseException as error:
        print(repr(error))
        smtpd.loop(0.2, count=1)
    client.join()
print(said == [(250, b"all the same")] * 3, before == {each: signal.getsignal(each) for each in before})
"""
        done = run_python(program)
        self.assertEqual("SystemExit(3)\nKeyboardInterrupt()\nTrue True\n", done.stdout, done.stderr)

    def test_two_at_once(self) -> None:
        """One goes on when the other, which ran the reactor, has ended."""
        program = """
import smtplib, threading
from twistsmtp.compat import smtpd

def begin():
    map = {}
    server = smtpd.DebuggingServer(("127.0.0.1", 0), None, map=map)
    thread = threading.Thread(target=smtpd.loop, kwargs={"map": map})
    thread.start()
    return server, thread

def talk(server):
    with smtplib.SMTP("127.0.0.1", server.socket.getsockname()[1], "client.test", timeout=20) as client:
        print(client.noop())

(first, its), (second, others) = begin(), begin()
talk(first)
talk(second)
first.close()
its.join(20)
talk(second)
second.close()
others.join(20)
print(its.is_alive(), others.is_alive())
"""
        done = run_python(program)
        self.assertEqual("(250, b'OK')\n" * 3 + "False False\n", done.stdout, done.stderr)


class ServerTests(Served):
    """What a server is asked, and what it answers."""

    async def test_arguments(self) -> None:
        """It is told of the client, the envelope and the parameters."""
        server = self.serve(data_size_limit=None)
        with_options = ["SIZE=5", "BODY=8BITMIME"]

        def talk() -> int:
            with client_of(server) as client:
                client.sendmail("a@b", ["c@d", "e@f"], b"x\r\ny", ["size=5", "body=8bitmime"])
                assert client.sock is not None
                return int(client.sock.getsockname()[1])

        port = await deferToThread(talk)
        options = {"mail_options": ["SIZE=6", *with_options], "rcpt_options": []}
        [(peer, mailfrom, rcpttos, data, kwargs)] = server.box
        self.assertEqual(((HOST, port), "a@b", ["c@d", "e@f"], b"x\ny"), (peer, mailfrom, rcpttos, data))
        self.assertEqual(set(options), set(kwargs))
        self.assertEqual("BODY=8BITMIME", kwargs["mail_options"][-1])

    async def test_chunk(self) -> None:
        """BDAT is no command here, and what stands behind it neither."""
        server = self.serve()

        def talk() -> bytes:
            with connect((HOST, port_of(server))) as client:
                client.sendall(bdat(COMMANDS, True))
                return read_all(client)

        self.assertRegex(await deferToThread(talk), rb"\A220 .*\r\n502 BDAT is not implemented\r\n\Z")

    async def test_later(self) -> None:
        """It may answer later: by a Deferred, or as a coroutine; and fail."""
        server = self.serve()

        async def coroutine() -> str:
            await deferToThread(time.sleep, 0)
            return "250 Later"

        async def failing() -> str:
            await deferToThread(time.sleep, 0)
            raise RuntimeError("secret")

        server.status = lambda: succeed("550 Not now")
        self.assertEqual((550, b"Not now"), await deferToThread(send, server))
        server.status = coroutine
        self.assertEqual((250, b"Later"), await deferToThread(send, server))
        server.status = failing
        code, text = await deferToThread(send, server)
        self.assertEqual((451, False), (code, b"secret" in text))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    async def test_in_thread(self) -> None:
        """Where it takes its time it is called in a thread, one message at a time."""
        server = self.serve()
        server.in_thread = True
        running, most = 0, 0
        here = threading.current_thread()

        def work() -> None:
            nonlocal running, most
            assert threading.current_thread() is not here
            running += 1
            most = max(most, running)
            time.sleep(0.01)
            running -= 1

        server.status = work
        answers = [deferToThread(send, server) for _ in range(5)]
        self.assertEqual([(250, b"OK")] * 5, [await each for each in answers])
        self.assertEqual((1, 5), (most, len(server.box)))

    async def test_not_overridden(self) -> None:
        """A server that says nothing about messages refuses them, for now."""
        server = self.serve(lambda **settings: smtpd.SMTPServer((HOST, 0), None, **settings))
        self.assertRaises(NotImplementedError, server.process_message, (), "", [], b"")
        self.assertEqual(451, (await deferToThread(send, server))[0])
        self.flushLoggedErrors(NotImplementedError)

    async def test_limits(self) -> None:
        """A subclass may set limits: here that bare newlines are refused, and how many recipients there are."""

        class Strict(Keeper):
            limits = Limits(bare_newline=BareNewline.REFUSE, recipients=1, message_line=50, unknown_commands=2)

        server = self.serve(Strict)
        self.assertEqual((550, b"Error: The message has a bare LF"), await deferToThread(self._raw, server, b"a\nb"))
        line = b"x" * 100
        expected = (554, b"Error: A line of the message is too long")
        self.assertEqual(expected, await deferToThread(self._raw, server, line))

        def recipients() -> list[int]:
            with client_of(server) as client:
                client.ehlo()
                client.mail("a@b")
                codes = [client.rcpt("c@d")[0], client.rcpt("e@f")[0], *(client.docmd(x)[0] for x in ("XA", "XB"))]
                codes.append(client.getreply()[0])
                client.close()
                return codes

        self.assertEqual([250, 452, 500, 500, 421], await deferToThread(recipients))

    @staticmethod
    def _raw(server: smtpd.SMTPServer, data: bytes) -> Any:
        with client_of(server) as client:
            client.ehlo()
            client.mail("a@b")
            client.rcpt("c@d")
            client.docmd("DATA")
            client.send(data + b"\r\n.\r\n")
            return client.getreply()

    async def test_ipv6(self) -> None:
        """It listens on IPv6."""
        if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6")
        try:
            server = self.serve(lambda **settings: smtpd.DebuggingServer(("::1", 0), None, **settings))
        except OSError as error:
            self.skipTest(f"no IPv6: {error}")

        def talk() -> Any:
            with smtplib.SMTP("::1", port_of(server), "client.test", timeout=PATIENCE) as client:
                return client.noop()

        self.assertEqual(socket.AF_INET6, server.socket.family)
        self.assertEqual((250, b"OK"), await deferToThread(talk))

    def test_both(self) -> None:
        """Text and SMTPUTF8 do not go together."""
        self.assertRaises(ValueError, Keeper, None, decode_data=True, enable_SMTPUTF8=True)
        self.assertRaises(ValueError, smtpd.PureProxy, (HOST, 0), (HOST, 25), enable_SMTPUTF8=True)

    async def test_no_descriptors(self) -> None:
        """Where nobody can be accepted for now, it rests for a moment, and then goes on; a connection that a program
        fails to take is no more than that."""
        self.patch(server_module, "_REST", 0.01)
        server = self.serve()
        errors: list[Exception] = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EAGAIN, "nobody")]
        accept = server.accept

        def fail() -> Any:
            if errors:
                raise errors.pop(0)
            return accept()

        server.accept = fail
        self.assertEqual((250, b"OK"), await deferToThread(send, server))
        self.assertEqual([], errors)
        server.accept = lambda: accept() and 1
        with self.assertRaises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
            await deferToThread(send, server)
        self.assertEqual(1, len(self.flushLoggedErrors(TypeError)))

    def test_address_in_use(self) -> None:
        """An address that cannot be had is an error, and nothing is left."""
        map: dict[int, Any] = {}
        with socket.socket() as other:
            other.bind((HOST, 0))
            other.listen()
            self.assertRaises(OSError, smtpd.SMTPServer, other.getsockname(), None, map=map)
        self.assertEqual({}, map)


class ChannelTests(Served):
    """What the methods of a channel may do."""

    async def test_errors(self) -> None:
        """A program is told of what its methods raise, and the client that there was an error."""
        raised: list[Any] = []

        class Channel(smtpd.SMTPChannel):
            def smtp_XFAIL(self, arg: str | None) -> None:  # noqa: N802
                raise LookupError(arg)

            def smtp_XCLOSE(self, arg: str | None) -> None:  # noqa: N802
                self.push("421 for now")
                self.close()

            def handle_error(self) -> None:
                raised.append(type(sys.exception()))

        class Server(Keeper):
            channel_class = Channel
            fails = False

            def handle_error(self) -> None:
                raised.append(sys.exception())

            def handle_accepted(self, conn: Any, addr: Any) -> None:
                if self.fails:
                    conn.close()
                    raise LookupError
                super().handle_accepted(conn, addr)

        server = self.serve(Server)

        def talk() -> None:
            error = (451, b"Requested action aborted: local error in processing")
            with client_of(server) as client:
                self.assertEqual([error, (250, b"OK")], [client.docmd("XFAIL x"), client.noop()])
            for server.status in (lambda: smtpd.socket_map[-5], lambda: fail(ZeroDivisionError())):
                self.assertEqual(error, send(server))
            with client_of(server) as client:
                self.assertEqual((421, b"for now"), client.docmd("XCLOSE"))
            server.fails = True
            with self.assertRaises(smtplib.SMTPServerDisconnected), client_of(server):
                pass

        await deferToThread(talk)
        self.assertEqual([LookupError, KeyError, ZeroDivisionError], raised[:3])
        self.assertIsInstance(raised[3], LookupError)
        self.assertEqual(4, len(self.flushLoggedErrors(LookupError, ZeroDivisionError)))

    def test_dispatcher(self) -> None:
        """What programs know of asyncore."""
        server = Keeper(map={})
        self.assertEqual((True, True, False), (server.accepting, server.readable(), server.writable()))
        server.close()
        self.assertFalse(server.accepting)
        with redirect_stdout(StringIO()) as printed, redirect_stderr(StringIO()) as said:
            server.log_info("hello")
            server.log_info("not this", "warning")
            server.log("that")
        self.assertEqual(("info: hello\n", "log: that\n"), (printed.getvalue(), said.getvalue()))

    async def test_methods(self) -> None:
        """They say what they like, at once and later, and end the connection; a second reply is not said."""
        from twisted.internet import reactor

        clock: Any = reactor
        states: list[Any] = []

        class Channel(smtpd.SMTPChannel):
            def smtp_XLATER(self, arg: str | None) -> None:  # noqa: N802
                clock.callLater(0.01, self.push, f"250 later {arg}")

            def smtp_XLINES(self, arg: str | None) -> None:  # noqa: N802
                self.push("250-one\x1b\r\n250 two")

            def smtp_XCLOSE(self, arg: str | None) -> None:  # noqa: N802
                self.close()

            def smtp_XFAIL(self, arg: str | None) -> None:  # noqa: N802
                self.push("250 said")
                raise RuntimeError

            def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
                states.append((self.smtp_state, self.seen_greeting, self.mailfrom, self.rcpttos, self.fqdn, self.peer))
                self.smtp_state = self.DATA
                self.set_terminator(b"\r\n.\r\n")
                self.push("354 Go on")

            def handle_close(self) -> None:
                states.append("closed")

        server = self.serve()
        server.channel_class = Channel

        def talk() -> list[Any]:
            with client_of(server) as client:
                said: list[Any] = [client.ehlo()[0], client.docmd("XLATER x"), client.docmd("XLINES")]
                client.mail("a@b")
                client.rcpt("c@d")
                said += [client.docmd("DATA"), self._end(client), client.docmd("XFAIL")]
                with self.assertRaises(smtplib.SMTPServerDisconnected):
                    client.noop()
            with client_of(server) as client, self.assertRaises(smtplib.SMTPServerDisconnected):
                client.docmd("XCLOSE")
            return said

        said = await deferToThread(talk)
        self.assertEqual(
            [250, (250, b"later x"), (250, b"one\\x1b\ntwo"), (354, b"Go on"), (250, b"OK"), (250, b"said")], said
        )
        self.assertEqual((0, "client.test", "a@b", ["c@d"], socket.getfqdn()), states[0][:5])
        self.assertEqual(b"text", server.box[0][3])
        self.assertIn("closed", states)
        self.flushLoggedErrors(RuntimeError)

    @staticmethod
    def _end(client: smtplib.SMTP) -> tuple[int, bytes]:
        client.send("text\r\n.\r\n")
        return client.getreply()


class ProxyTests(Served):
    """What proxies do with messages."""

    def test_x_peer(self) -> None:
        """The field stands behind all others, in either form."""
        self.assertEqual("A: b\nX-Peer: ::1\n\nc\n\nd", with_peer("A: b\n\nc\n\nd", "::1"))
        self.assertEqual(b"A: b\nX-Peer: ::1\n\n\xff", with_peer(b"A: b\n\n\xff", "::1"))
        self.assertEqual(b"A: b\nX-Peer: ::1", with_peer(b"A: b", "::1"))

    def test_answers(self) -> None:
        """The client is told what keeps mail from being lost."""
        self.assertIsNone(answer_of({}))
        self.assertEqual("550 No", answer_of({"a": (550, b"No")}))
        self.assertEqual("450 x y", answer_of({"a": (550, b"No"), "b": (450, b"x\ny"), "c": (451, b"z")}))
        self.assertEqual("451 gone", answer_of({"a": (421, "gone")}))
        self.assertEqual("451 The next server cannot be reached", answer_of({"a": (-1, "ignore")}))

    async def test_octets(self) -> None:
        """Octets are handed on as they are, but for the field; none of it stands for the end of the message."""
        end = self.serve()
        proxy = self.serve(smtpd.PureProxy, (HOST, 0), end.socket.getsockname())
        self.assertEqual((250, b"OK"), await deferToThread(send, proxy, b"A: b\r\n\r\n\xff\r\n..\r\n.x\r\n"))
        [(_, mailfrom, rcpttos, data, kwargs)] = end.box
        self.assertEqual(("a@b", ["c@d"]), (mailfrom, rcpttos))
        self.assertEqual(b"A: b\nX-Peer: 127.0.0.1\n\n\xff\n..\n.x", data)
        self.assertIn("BODY=8BITMIME", kwargs["mail_options"])

    async def test_unreachable(self) -> None:
        """Where the next server is not there, the client is to come again."""
        end = Keeper(map={})
        address = end.socket.getsockname()
        end.close()
        proxy = self.serve(smtpd.PureProxy, (HOST, 0), address)
        self.assertEqual((451, b"The next server cannot be reached"), await deferToThread(send, proxy))

    async def test_mailman(self) -> None:
        """Mail for lists goes to Mailman, and all other to the next server."""
        from twisted.internet import reactor

        memory = Memory()
        factory = LMTPFactory(memory, hostname="mailman.test")
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.shutdown, 0.1)
        end = self.serve()

        class Proxy(smtpd.MailmanProxy):
            lists = frozenset({"dev", "a-b", "users@lists.test"})
            mailman = (HOST, port.getHost().port)

        proxy = self.serve(Proxy, (HOST, 0), end.socket.getsockname())
        lists = [
            "dev@x.y",
            "DEV-join@x.y",
            "dev-confirm+123@x.y",
            "a-b@x.y",
            "a-b-owner@x.y",
            "users-bounces@lists.test",
        ]
        others = ["users@x.y", "dev-x@x.y", "ann@x.y", "a@x.y"]

        def talk() -> Any:
            with client_of(proxy) as client:
                return client.sendmail("a@b.c", [*lists, *others], b"Subject: x\r\n\r\ntext\r\n")

        self.assertEqual({}, await deferToThread(talk))
        self.assertEqual(lists, [str(each) for mail in memory.messages for each in mail.envelope.recipients])
        self.assertTrue(all(b"\r\nX-Peer: 127.0.0.1\r\n\r\ntext\r\n" in mail.octets for mail in memory.messages))
        self.assertEqual([others], [each[2] for each in end.box])

"""A worker in this process: its parent is a transport, and what it would do to the process is noted."""

import os
import pickle
import signal
import socket
from contextlib import closing
from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from tests.loopback import CODES, CONVERSATION, LoopbackTestCase, codes, connect, read_all
from twistsmtp.config import Config
from twistsmtp.limits import Limits
from twistsmtp.workers import logs, worker
from twistsmtp.workers.failures import SharedFailures
from twistsmtp.workers.memory import Memory
from twistsmtp.workers.messages import Frames, Start, frame, unpack
from twistsmtp.workers.worker import Link


class Reactor:
    """The real one, but for what ends it."""

    def __init__(self) -> None:
        from twisted.internet import reactor

        self._reactor = reactor
        self.stopped = 0

    def stop(self) -> None:
        self.stopped += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class Parent:
    """The parent's side of the pipes."""

    def __init__(self) -> None:
        #: What it has heard, and whether the worker has ended that.
        self.heard: list[Any] = []
        self.ended = False
        self._frames = Frames(lambda message: self.heard.append(unpack(message)))
        self.producer: Any = None

    def write(self, octets: bytes) -> None:
        self._frames.feed(octets)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.ended = True

    @property
    def kinds(self) -> list[str]:
        """The kinds of what it has heard, but for the log; and forget it."""
        heard, self.heard = self.heard, []
        return [each["kind"] for each in heard if isinstance(each, dict)]


class WorkerTestCase(LoopbackTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        #: The observers of the log that there would be.
        self.observers: list[Any] = []
        self.patch(worker, "globalLogBeginner", self)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        memory = Memory(2)
        self.start = Start(
            number=2,
            config=Config(
                listen=("tcp:25",), hostname="mx.test", domains=("mx.test",), delivery="memory:", metrics="tcp:1"
            ),
            reactor="default",
            log_format="text",
            workers=2,
            memory=memory.descriptor,
            sockets=(os.dup(self.listening.fileno()),),
        )
        self.reactor, self.parent = Reactor(), Parent()

    def beginLoggingTo(self, observers: list[Any]) -> None:  # noqa: N802
        self.observers = observers

    def link(self, **changes: Any) -> Link:
        """A worker that has begun."""
        link = Link(replace(self.start, **changes), self.reactor)
        link.makeConnection(self.parent)
        link.begin()
        return link

    def tell(self, link: Link, kind: str, *more: object) -> None:
        """The parent says something."""
        link.dataReceived(frame(pickle.dumps((kind, *more))))

    async def talk(self) -> list[str]:
        def run() -> bytes:
            with closing(connect(self.listening.getsockname())) as client:
                client.sendall(CONVERSATION)
                return read_all(client)

        return codes(await self.in_thread(run))

    async def end(self, link: Link) -> None:
        """Have it end in order."""
        self.tell(link, "drain")
        await self.until(lambda: self.parent.ended)
        link.connectionLost()
        self.assertEqual(self.reactor.stopped, 1)


class LifeTests(WorkerTestCase):
    async def test_from_its_start_to_its_end(self) -> None:
        link = self.link()
        self.assertEqual(self.parent.kinds, ["ready"])
        self.assertEqual(await self.talk(), CODES)
        self.tell(link, "ping")
        self.tell(link, "metrics")
        *_, counted = self.parent.heard
        messages = {name: samples for name, _, _, samples in counted["families"]}["twistsmtp_messages"]
        self.assertIn(["twistsmtp_messages_total", {"protocol": "smtp", "result": "accepted"}, 1], messages)
        self.parent.heard.clear()
        await self.end(link)
        self.assertEqual((self.parent.kinds, link.status), (["drain", "metrics"], 0))

    async def test_it_cannot(self) -> None:
        """It says why, and ends with another status; of what was not expected only what it is called."""
        for delivery, why in (
            ("nope:", "delivery 'nope:': "),
            ("maildir:/proc/nowhere:create=yes", "delivery 'maildir:/proc/nowhere:create=yes': "),
            ("discard:", "RuntimeError"),
        ):
            if delivery == "discard:":
                self.patch(worker, "WorkerService", self.fail_oddly)
            self.reactor, self.parent = Reactor(), Parent()
            sockets = (os.dup(self.listening.fileno()),)
            link = self.link(config=replace(self.start.config, delivery=delivery), sockets=sockets)
            [failed] = self.parent.heard
            self.assertEqual((failed["kind"], link.status, self.parent.ended), ("failed", 1, True))
            self.assertTrue(failed["why"].startswith(why), failed)
            link.connectionLost()
            self.assertEqual(self.reactor.stopped, 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def fail_oddly(self, start: Start, reactor: object) -> None:
        raise RuntimeError("a secret")

    async def test_sigterm(self) -> None:
        """It drains, and once is enough."""
        link = self.link()
        self.parent.kinds  # noqa: B018  # which forgets them
        os.kill(os.getpid(), signal.SIGTERM)
        await self.until(lambda: self.parent.ended)
        self.assertEqual(self.parent.kinds, ["metrics"])
        link.drain()
        self.tell(link, "drain")
        self.assertEqual(self.parent.kinds, [])
        link.connectionLost()

    async def test_it_has_not_begun(self) -> None:
        link = Link(self.start, self.reactor)
        link.makeConnection(self.parent)
        self.tell(link, "hurry")
        self.tell(link, "metrics")
        self.assertEqual(self.parent.heard, [{"kind": "metrics", "families": []}])
        self.tell(link, "drain")
        self.assertTrue(self.parent.ended)
        link.connectionLost()
        self.assertEqual(self.reactor.stopped, 1)

    async def test_nobody_hears_the_last_words(self) -> None:
        """It does not wait for that for ever."""
        self.patch(worker, "_LAST_WORDS", 0.01)
        link = self.link()
        self.tell(link, "drain")
        await self.until(lambda: self.reactor.stopped)
        link.connectionLost()
        self.assertEqual(self.reactor.stopped, 1)


class ParentTests(WorkerTestCase):
    async def test_it_is_gone(self) -> None:
        """What is under way ends, and then the worker, without a word to anybody."""
        link = self.link()

        def begin() -> socket.socket:
            client = connect(self.listening.getsockname())
            client.sendall(CONVERSATION.partition(b"Subject")[0])
            while b"354 " not in client.recv(65536, socket.MSG_PEEK):
                pass
            return client

        client = await self.in_thread(begin)
        self.parent.kinds  # noqa: B018  # which forgets them
        link.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.stopped, 0)
        client.sendall(b"Subject: x\r\n\r\n.\r\n")
        said = await self.in_thread(lambda: read_all(client))
        client.close()
        self.assertEqual(codes(said)[-2:], ["250", "421"])
        await self.until(lambda: self.reactor.stopped)
        self.assertEqual((self.parent.heard, self.parent.ended), ([], False))

    async def test_in_a_hurry(self) -> None:
        link = self.link()
        client = await self.in_thread(lambda: connect(self.listening.getsockname()))
        client.sendall(CONVERSATION.partition(b"Subject")[0])
        await self.until(lambda: b"354 " in client.recv(65536, socket.MSG_PEEK))
        self.tell(link, "drain")
        self.tell(link, "reload", self.start.config)
        self.assertEqual(self.parent.kinds, ["ready", "drain", "reload"])
        self.tell(link, "hurry")
        self.assertEqual(codes(await self.in_thread(lambda: read_all(client)))[-1], "421")
        client.close()
        await self.until(lambda: self.parent.ended)
        link.connectionLost()

    async def test_another_configuration(self) -> None:
        link = self.link()
        config = replace(self.start.config, limits=Limits(message_size=5))
        self.tell(link, "reload", config)
        self.tell(link, "reload", config)
        self.assertEqual(self.parent.kinds, ["ready", "reload", "reload"])
        self.assertEqual((await self.talk())[-2], "552")
        await self.end(link)
        self.tell(link, "reload", self.start.config)
        self.assertNotIn("reload", self.parent.kinds)

    async def test_the_log(self) -> None:
        """It is kept for a parent that does not take it, as far as there is room."""
        self.patch(logs, "ROOM", 100)
        link = self.link()
        [observe] = self.observers
        event = {"log_time": 1.0, "log_namespace": "here", "log_format": "{number}"}
        observe({**event, "number": 1})
        self.parent.producer.pauseProducing()
        for number in range(2, 9):
            observe({**event, "number": number})
        text = "1970-01-01T00:00:01+0000 worker=2 [here] {}\n"
        self.assertEqual([each for each in self.parent.heard if isinstance(each, str)], [text.format(1)])
        self.parent.producer.resumeProducing()
        observe({**event, "number": 9})
        self.parent.producer.stopProducing()
        heard = [each for each in self.parent.heard if isinstance(each, str)]
        self.assertEqual(heard, [text.format(each) for each in (1, 2, 3, 9)])
        await self.end(link)

    async def test_the_last_lines(self) -> None:
        """Those that would be written in the next turn of the reactor are, although there is none."""
        link = Link(self.start, self.reactor)
        link.makeConnection(self.parent)
        [observe] = self.observers
        observe({"log_time": 1.0, "log_namespace": "here", "log_render": lambda _: "hello"})
        self.assertEqual(self.parent.heard, [])
        link.drain()
        self.assertEqual(self.parent.heard, ["1970-01-01T00:00:01+0000 worker=2 [here] hello\n"])
        link.connectionLost()


class SharingTests(WorkerTestCase):
    """What another worker has counts here."""

    def serve_by(self, **settings: Any) -> Link:
        return self.link(config=replace(self.start.config, **settings))

    async def said(self, octets: bytes) -> list[str]:
        """What a client is told that says this."""

        def run() -> bytes:
            with closing(connect(self.listening.getsockname())) as client:
                client.sendall(octets + b"QUIT\r\n")
                return read_all(client)

        said = codes(await self.in_thread(run))
        await self.until(lambda: self.other.total == self.others)
        return said

    async def test_connections(self) -> None:
        link = self.serve_by(limits=Limits(connections=3, connections_per_client=2))
        self.other, self.others = Memory(2, self.start.memory).clients(0, 0), 0
        for network, expected in (
            ("127.0.0.1", "220"),
            ("127.0.0.1", "421"),  # there are two from here
            ("-127.0.0.1", "220"),
            ("192.0.2.1", "220"),
            ("192.0.2.1", "421"),  # there are three in all
        ):
            if network.startswith("-"):
                self.other.leave(network[1:])
                self.others -= 1
            else:
                self.other.enter(network)
                self.others += 1
            self.assertEqual((await self.said(b""))[0], expected, network)
        await self.end(link)

    async def test_failed_logins_and_rates(self) -> None:
        link = self.serve_by(
            limits=Limits(auth_failures_per_client=1),
            auth=("memory:ada:secret",),
            plaintext_auth=True,
            policies=("helo", "rate:client=1/h"),
        )
        memory, now = Memory(2, self.start.memory), self.reactor.seconds()
        self.other, self.others = memory.clients(0, 0), 0
        login = b"EHLO client.test\r\nAUTH PLAIN AGFkYQBzZWNyZXQ=\r\n"
        self.assertEqual(await self.said(login), ["220", "250", "235", "221"])
        SharedFailures(memory.scores(0), self.reactor.seconds).add("127.0.0.1", now)
        self.assertEqual((await self.said(login))[:3], ["220", "250", "421"])
        mail = b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\n"
        self.assertEqual(await self.said(mail), ["220", "250", "250", "221"])
        self.assertEqual(await self.said(mail), ["220", "250", "451", "221"])
        await self.end(link)

"""A server in a thread."""

import smtplib
import socket
import threading
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.test_reactorthread import python
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.testing.thread import ServerThread

MESSAGE = "Subject: x\r\n\r\nx\r\n"


def send(server: ServerThread) -> None:
    with smtplib.SMTP(server.host, server.port, timeout=20) as client:
        client.sendmail("a@client.test", ["b@mx.test"], MESSAGE)


class ServerThreadTests(SynchronousTestCase):
    def test_message(self) -> None:
        memory = Memory()
        with ServerThread(memory, hostname="mx.test") as server:
            self.assertTrue(server.running)
            send(server)
        self.assertFalse(server.running)
        self.assertEqual(len(memory.messages), 1)

    def test_again(self) -> None:
        memory = Memory()
        server = ServerThread(memory)
        for _ in range(3):
            with server:
                send(server)
        self.assertEqual(len(memory.messages), 3)

    def test_several(self) -> None:
        memories = [Memory(), Memory()]
        with ServerThread(memories[0]) as one, ServerThread(memories[1]) as two:
            send(two)
            send(one)
        self.assertEqual([len(memory.messages) for memory in memories], [1, 1])

    def test_factory(self) -> None:
        memory = Memory()
        with ServerThread(factory=SMTPFactory(memory), host="::1") as server:
            send(server)
        self.assertEqual(len(memory.messages), 1)
        self.assertRaises(TypeError, ServerThread, memory, factory=SMTPFactory(memory))

    def test_any_factory(self) -> None:
        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.write(data)

        with (
            ServerThread(factory=ServerFactory.forProtocol(Echo)) as server,
            socket.create_connection((server.host, server.port)) as client,
        ):
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")

    def test_connections_end(self) -> None:
        """Those that are open are told, and closed; nobody has to wait for a client that does not go."""
        server = ServerThread(Memory())
        with server, socket.create_connection((server.host, server.port), timeout=20) as client:
            client.recv(1000)
            server.stop()
            said = b"".join(iter(lambda: client.recv(1000), b""))
        self.assertEqual(said[:9], b"421 4.3.2")
        self.assertEqual(len(server.factory.connections), 0)

    def test_stopped(self) -> None:
        server = ServerThread(Memory())
        server.stop()
        with self.assertRaisesRegex(RuntimeError, "is not running: start"):
            _ = server.port
        self.assertRaises(RuntimeError, server.call, lambda: None)
        with server:
            self.assertRaises(RuntimeError, server.start)
            self.assertEqual(server.call(lambda: 3), 3)

    def test_port_is_taken(self) -> None:
        """It says so, and nothing is left running."""
        threads = threading.active_count()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = ServerThread(Memory(), port=taken.getsockname()[1])
            self.assertRaises(CannotListenError, server.start)
        self.assertFalse(server.running)
        self.assertEqual(threading.active_count(), threads)


class InApplicationTests(TestCase):
    """Where the reactor runs already."""

    async def test_used(self) -> None:
        memory = Memory()

        def work() -> None:
            with ServerThread(memory) as server:
                send(server)

        await deferToThread(work)
        self.assertEqual(len(memory.messages), 1)

    async def test_its_own_thread(self) -> None:
        await deferToThread(lambda: None)
        with self.assertRaisesRegex(RuntimeError, "cannot wait for itself"):
            ServerThread(Memory()).start()


class ProcessTests(SynchronousTestCase):
    def test_200_times(self) -> None:
        """Nothing is left of 200 servers that each took a message: no thread, no socket, no memory."""
        said = python("""
            import gc, os, smtplib, sys, threading, tracemalloc
            from twisted.logger import globalLogBeginner
            from twistsmtp import Memory
            from twistsmtp.testing import ServerThread

            def once():
                with ServerThread(Memory()) as server, smtplib.SMTP(server.host, server.port) as client:
                    client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\\n\\nx\\n")

            def state():
                gc.collect()
                links = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
                return len(gc.get_objects()), [each for each in links if "socket:" in each], threading.enumerate()

            globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)  # which else keeps events
            for _ in range(20):  # what is kept on purpose is there then
                once()
            tracemalloc.start()
            once()
            objects, sockets, threads = state()
            octets, _ = tracemalloc.get_traced_memory()
            for _ in range(200):
                once()
            after, *others = state()
            grown = tracemalloc.get_traced_memory()[0] - octets
            # One that was left would be 10 KB in hundreds of objects. What grows by less is a cache of so many replies.
            print(others == [sockets, threads], len(threads))
            # coverage keeps something of each thread.
            print("coverage" in sys.modules or (after - objects < 100 and grown < 200 * 300))
            """)
        self.assertEqual(said, "True 1\nTrue\n")

    def test_no_reactor(self) -> None:
        """In a program that knows nothing of Twisted; handlers may wait for asyncio."""
        said = python("""
            import asyncio, smtplib
            from twistsmtp import Callback
            from twistsmtp.testing import ServerThread

            async def on_mail(mail):
                await asyncio.sleep(0.01)
                print(mail.email["Subject"])

            with ServerThread(Callback(on_mail)) as server, smtplib.SMTP(server.host, server.port) as client:
                client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\\n\\nx\\n")
            """)
        self.assertEqual(said, "x\n")

    def test_forgotten(self) -> None:
        """A process ends that never stops its server."""
        said = python("""
            from twistsmtp import Memory
            from twistsmtp.testing import ServerThread

            server = ServerThread(Memory()).start()
            print(server.port > 0)
            """)
        self.assertEqual(said, "True\n")

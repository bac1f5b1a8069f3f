"""Whoever needs the reactor, side by side: in processes of their own, as trial has the reactor of this one."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from tests.forked import run_module_forked
from tests.test_reactorthread import python

#: A controller of aiosmtpd's, a server of the test kit's, and a loop of smtpd's, which start, stop and take mail.
ACTORS = """
import os, smtplib, threading
from itertools import permutations
from twistsmtp.compat import smtpd
from twistsmtp.compat.aiosmtpd.controller import Controller
from twistsmtp.compat.aiosmtpd.handlers import Sink
from twistsmtp.delivery.memory import Memory
from twistsmtp.testing.thread import ServerThread

class Old(smtpd.SMTPServer):
    def process_message(self, *message, **options):
        pass

class Loop:
    def start(self):
        sockets = {}
        self.server = Old(("127.0.0.1", 0), None, map=sockets)
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=smtpd.loop, kwargs={"map": sockets})
        self.thread.start()

    def stop(self):
        self.server.close()
        self.thread.join()

actors = {"C": Controller(Sink(), "127.0.0.1", 0), "S": ServerThread(Memory()), "L": Loop()}
running = set()

def turn(name):
    if name in running:
        running.remove(name)
        actors[name].stop()
    else:
        actors[name].start()
        running.add(name)

def check():
    for name in running:
        with smtplib.SMTP("127.0.0.1", actors[name].port, timeout=20) as client:
            assert client.sendmail("a@a.test", ["b@b.test"], b"x") == {}
"""


class Orders(SynchronousTestCase):
    """They share the reactor, and none takes it from another."""

    def test_every_order(self) -> None:
        """Each starts and stops before, while and after the others do, and those that run take mail."""
        said = python(
            ACTORS
            + """
for order in sorted(set(permutations("CSL" * 2))):
    for name in order:
        turn(name)
        check()
    assert threading.active_count() == 1, (order, threading.enumerate())
print("done")
"""
        )
        self.assertEqual(said, "done\n")

    def test_200_times(self) -> None:
        """Nothing is left: no thread, no descriptor, nothing in the loop."""
        said = python(
            ACTORS
            + """
import asyncio, gc
from twistsmtp.reactorthread import hold_reactor

def left():
    gc.collect()
    with hold_reactor() as held:
        tasks = held.call(lambda: len(asyncio.all_tasks(held.loop)))
        calls = held.call(lambda: len(held.reactor.getDelayedCalls()))
        readers = held.call(lambda: len(held.reactor.getReaders()))
    return threading.active_count(), len(os.listdir("/proc/self/fd")), tasks, calls, readers

before = None
for number in range(68):  # each of them three times
    for name in "CSCLSL":
        turn(name)
    before = before or left()
print(before == left() or (before, left()))
"""
        )
        self.assertEqual(said, "True\n")

    def test_a_connection_stays(self) -> None:
        """Who is connected to one is not cut off when the thread that ran the reactor goes."""
        said = python(
            ACTORS
            + """
for first in "CL":
    for name in first + "S":
        turn(name)
    with smtplib.SMTP("127.0.0.1", actors["S"].port, timeout=20) as client:
        print(client.ehlo("x")[0])
        turn(first)
        print(client.sendmail("a@a.test", ["b@b.test"], b"x"))
    turn("S")
"""
        )
        self.assertEqual(said, "250\n{}\n" * 2)


class Hooks(SynchronousTestCase):
    """What a controller's hooks may do while others have the reactor."""

    def test_a_deferred_of_the_reactors(self) -> None:
        """A hook whose loop is not the reactor's may await what fires in the reactor's thread."""
        said = python("""
            import smtplib
            from twistsmtp.compat.aiosmtpd.controller import Controller
            from twistsmtp.reactorthread import hold_reactor

            class Handler:
                async def handle_DATA(self, server, session, envelope):
                    from twisted.internet.threads import deferToThread
                    return await deferToThread(lambda: f"250 {len(envelope.content)}")

            with hold_reactor() as held:
                controller = Controller(Handler(), "127.0.0.1", 0)
                controller.start()
                print(controller.loop is held.loop)
                with smtplib.SMTP("127.0.0.1", controller.port, timeout=20) as client:
                    client.helo("x"), client.mail("a@a.test"), client.rcpt("b@b.test")
                    print(client.data(b"x"))
                controller.stop()
            """)
        self.assertEqual(said, "False\n(250, b'3')\n")

    def test_one_that_waits(self) -> None:
        """A hook that stands still until a server has answered, which was there first, gets its answer."""
        said = python("""
            import smtplib
            from twistsmtp.compat.aiosmtpd.controller import Controller
            from twistsmtp.testing.server import MailServer

            class Handler:
                async def handle_DATA(self, server, session, envelope):
                    with smtplib.SMTP(inbox.host, inbox.port, timeout=20) as client:
                        client.sendmail(envelope.mail_from, envelope.rcpt_tos, envelope.content)
                    return "250 forwarded"

            with MailServer() as inbox:
                controller = Controller(Handler(), "127.0.0.1", 0)
                controller.start()
                with smtplib.SMTP("127.0.0.1", controller.port, timeout=20) as client:
                    client.sendmail("a@a.test", ["b@b.test"], b"x")
                controller.stop()
                print(len(inbox.wait_for()))
            """)
        self.assertEqual(said, "1\n")

    def test_tasks_of_others(self) -> None:
        """A controller that stops cancels its own tasks, and no others."""
        said = python("""
            import asyncio
            from twisted.internet.defer import Deferred
            from twistsmtp.compat.aiosmtpd.controller import Controller
            from twistsmtp.compat.aiosmtpd.handlers import Sink
            from twistsmtp.reactorthread import hold_reactor

            controller = Controller(Sink(), "127.0.0.1", 0)
            controller.start()
            with hold_reactor() as held:
                async def wait():
                    await event.wait()
                    return "set"

                event = asyncio.Event()
                task = held.call(lambda: [asyncio.ensure_future(wait())])[0]
                print(controller.loop is held.loop)
                controller.stop()
                held.call(event.set)
                print(held.call(Deferred.fromFuture, task))
            """)
        self.assertEqual(said, "True\nset\n")


class Applications(SynchronousTestCase):
    """Programs that run a loop of their own."""

    def test_asyncio(self) -> None:
        """The application's loop is its own, and each of the others is in a thread."""
        said = python(
            ACTORS
            + """
import asyncio
from twistsmtp.compat.aiosmtpd.smtp import SMTP

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink()), "127.0.0.1", 0)
    actors["A"] = type("A", (), {"port": server.sockets[0].getsockname()[1]})
    running.add("A")
    for name in "CSLCSL":
        turn(name)
        await asyncio.to_thread(check)
    server.close()
    print(sorted(running))

for _ in range(2):
    asyncio.run(main())
"""
        )
        self.assertEqual(said, "['A']\n" * 2)

    def test_a_reactor_on_its_loop(self) -> None:
        """One that was installed on the application's loop is there for all, though nobody has begun it."""
        said = python(
            """
import asyncio
from twisted.internet import asyncioreactor
"""
            + ACTORS
            + """
async def main():
    asyncioreactor.install(asyncio.get_running_loop())
    from twisted.internet import reactor
    for name in "CLSCLS":
        await asyncio.to_thread(turn, name)
        await asyncio.to_thread(check)
    print(reactor.running, sorted(running))

asyncio.run(main())
"""
        )
        self.assertEqual(said, "True []\n")

    def test_one_that_has_failed(self) -> None:
        """To stop a controller that never came to serve does nothing to who has the reactor after it."""
        said = python("""
            import socket
            from twistsmtp.compat.aiosmtpd.controller import Controller
            from twistsmtp.compat.aiosmtpd.handlers import Sink
            from twistsmtp.delivery.memory import Memory
            from twistsmtp.testing.thread import ServerThread

            taken = socket.create_server(("127.0.0.1", 0))
            for other in (Controller(Sink(), "127.0.0.1", 0), ServerThread(Memory())):
                failed = Controller(Sink(), "127.0.0.1", taken.getsockname()[1])
                try:
                    failed.start()
                except OSError:
                    print("taken")
                other.start()
                failed.stop()
                socket.create_connection(("127.0.0.1", other.port), 20).recv(3)
                other.stop()
            """)
        self.assertEqual(said, "taken\n" * 2)

    def test_several_processes_of_pytest(self) -> None:
        """Beside pytest-xdist, and tests that are coroutines."""
        with TemporaryDirectory() as folder:
            Path(folder, "test_mail.py").write_text(SUITE, "utf-8")
            done = run_module_forked("pytest", "-p", "no:cacheprovider", "-q", "-n", "2", "--rootdir", folder, folder)
        self.assertIn("8 passed", done.stdout, done.stderr)


#: Each test has another of them first.
SUITE = """
import asyncio, smtplib, threading
import pytest
from twistsmtp.compat import smtpd as old
from twistsmtp.compat.aiosmtpd.controller import Controller
from twistsmtp.compat.aiosmtpd.handlers import Sink
from twistsmtp.testing.server import MailServer

def mail(port):
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        assert client.sendmail("a@a.test", ["b@b.test"], b"x") == {}

class Server(old.SMTPServer):
    def process_message(self, *message, **options):
        pass

@pytest.fixture
def controller():
    it = Controller(Sink(), "127.0.0.1", 0)
    it.start()
    yield it
    it.stop()

@pytest.fixture
def looping():
    sockets = {}
    server = Server(("127.0.0.1", 0), None, map=sockets)
    thread = threading.Thread(target=old.loop, kwargs={"map": sockets})
    thread.start()
    yield server.socket.getsockname()[1]
    server.close()
    thread.join()

@pytest.fixture
def kit():
    with MailServer() as server:
        yield server

@pytest.mark.parametrize("turn", range(2))
def test_controller_first(controller, kit, looping, turn):
    for port in (controller.port, kit.port, looping):
        mail(port)

@pytest.mark.parametrize("turn", range(2))
def test_loop_first(looping, controller, kit, turn):
    for port in (controller.port, kit.port, looping):
        mail(port)

@pytest.mark.parametrize("turn", range(2))
def test_kit_first(kit, looping, controller, turn):
    for port in (controller.port, kit.port, looping):
        mail(port)

@pytest.mark.asyncio
@pytest.mark.parametrize("turn", range(2))
async def test_coroutine(controller, kit, looping, turn):
    await asyncio.gather(*(asyncio.to_thread(mail, port) for port in (controller.port, kit.port, looping)))
"""

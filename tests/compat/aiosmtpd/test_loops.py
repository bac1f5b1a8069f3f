"""The loops of threaded controllers, and the reactor in one of them."""

from twisted.trial.unittest import SynchronousTestCase

from tests.forked import run_text


def python(program: str) -> str:
    """What *program* prints, in a process of its own."""
    done = run_text(program)
    return done.stdout + done.stderr


TWISTED = """
import asyncio, smtplib, sys, threading
from twistsmtp.compat.aiosmtpd.controller import Controller

class Handler:
    async def handle_DATA(self, server, session, envelope):
        from twisted.internet import reactor
        from twisted.internet.task import deferLater
        from twisted.internet.threads import deferToThread
        await asyncio.sleep(0.001)
        later = await deferLater(reactor, 0.001, lambda: "later")
        thread = await deferToThread(threading.current_thread)
        print(later, thread is threading.current_thread(), server.loop is reactor._asyncioEventloop)
        return "250 OK"

controller = Controller(Handler(), port=0)
for _ in range(3):
    controller.start()
    with smtplib.SMTP(controller.hostname, controller.port) as client:
        client.sendmail("a@a.test", ["b@b.test"], "x")
    STOP
    print(threading.active_count())
"""

THEIRS = """
import smtplib, threading
from twisted.internet import reactor
from twistsmtp.compat.aiosmtpd.controller import Controller
from twistsmtp.compat.aiosmtpd.handlers import Sink

controller = Controller(Sink(), port=0)
controller.start()

def send():
    with smtplib.SMTP(controller.hostname, controller.port) as client:
        print(client.sendmail("a@a.test", ["b@b.test"], "x"))
    reactor.callFromThread(reactor.stop)

reactor.callInThread(send)
reactor.run()
controller.stop()
print(threading.active_count())
"""

TOGETHER = """
import asyncio, smtplib
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
from twisted.internet import reactor, task, threads
from twistsmtp.compat.aiosmtpd.controller import UnthreadedController

class Handler:
    async def handle_DATA(self, server, session, envelope):
        await asyncio.sleep(0.001)
        return await task.deferLater(reactor, 0.001, lambda: "250 by the reactor")

def send():
    with smtplib.SMTP(controller.hostname, controller.port) as client:
        client.helo("x"), client.mail("a@a.test"), client.rcpt("b@b.test")
        return client.data("x")

async def main(reactor):
    print(await threads.deferToThread(send))

controller = UnthreadedController(Handler(), port=0, loop=loop)
controller.begin()
task.react(main)
"""


class Reactors(SynchronousTestCase):
    """Each in a process of its own, as a reactor is chosen but once."""

    def test_a_threads_loop_is_the_reactors(self) -> None:
        self.assertEqual(
            python(TWISTED.replace("STOP", "controller.stop()")).splitlines(), ["later False True", "1"] * 3
        )

    def test_a_program_need_not_stop_it(self) -> None:
        """Its threads end with the program."""
        program = TWISTED.replace("STOP", "break")
        self.assertEqual(python(program).splitlines(), ["later False True"])

    def test_a_reactor_that_was_there_is_not_touched(self) -> None:
        self.assertEqual(python(THEIRS).splitlines(), ["{}", "1"])

    def test_in_a_reactors_own_loop(self) -> None:
        self.assertEqual(python(TOGETHER).splitlines(), ["(250, b'by the reactor')"])

    def test_nothing_of_it_is_there_before(self) -> None:
        program = "import sys, twistsmtp.compat.aiosmtpd.controller; print('twisted.internet.reactor' in sys.modules)"
        self.assertEqual(python(program), "False\n")

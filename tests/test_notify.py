"""What the service manager hears, on a real socket."""

import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.notify import Notifier


class NotifyTestCase(SynchronousTestCase):
    """A manager that listens."""

    def listen(self, address: str) -> None:
        """Be the manager at *address*, as a socket has it."""
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(address)
        self.manager.setblocking(False)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()  # a short path: that of a socket has 108 octets at most
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "notify")
        self.listen(self.path)

    def heard(self) -> list[list[str]]:
        """The lines of each datagram that came since the last look."""
        words = []
        try:
            while True:
                words.append(self.manager.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return words


class WordTests(NotifyTestCase):
    def test_a_life(self) -> None:
        notifier = Notifier(self.path, monotonic=lambda: 12_345_678_900)
        notifier.ready("listens on 127.0.0.1:25")
        notifier.reloading()
        notifier.ready("takes mail for a.example")
        notifier.stopping("2 connections are left")
        self.assertEqual(
            self.heard(),
            [
                ["READY=1", "STATUS=listens on 127.0.0.1:25"],
                ["RELOADING=1", "MONOTONIC_USEC=12345678"],
                ["READY=1", "STATUS=takes mail for a.example"],
                ["STOPPING=1", "STATUS=2 connections are left"],
            ],
        )

    def test_a_status_is_one_line(self) -> None:
        Notifier(self.path).ready("a\nWATCHDOG=trigger\r\x1b[2J")
        [[_, status]] = self.heard()
        self.assertTrue(status.isprintable(), status)

    def test_abstract(self) -> None:
        name = f"twistsmtp-{os.getpid()}-{id(self)}"
        self.listen(f"\0{name}")
        Notifier(f"@{name}").ready("here")
        self.assertEqual(self.heard(), [["READY=1", "STATUS=here"]])

    def test_nothing_is_left_open(self) -> None:
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        Notifier(self.path).ready("here")
        after = os.listdir("/proc/self/fd") if before else []
        self.assertEqual(len(after), len(before))

    def test_nobody_listens(self) -> None:
        """Which is said once, and again if somebody has listened meanwhile."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]  # a function does
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]  # the same
        self.manager.close()
        notifier = Notifier(self.path)
        notifier.ready("a")
        notifier.ready("b")
        os.unlink(self.path)
        self.listen(self.path)
        notifier.ready("c")
        self.manager.close()
        notifier.ready("d")
        said = [each["log_level"].name for each in events if each.get("log_namespace") == "twistsmtp.notify"]
        self.assertEqual(said, ["warn", "warn"])

    def test_a_manager_that_does_not_read(self) -> None:
        """Its socket is full some time, and nobody waits for it."""
        notifier = Notifier(self.path)
        for _ in range(5000):
            notifier.ready("x" * 100)
        self.assertLess(len(self.heard()), 5000)


class WatchdogTests(NotifyTestCase):
    def test_twice_in_its_time(self) -> None:
        clock = Clock()
        notifier = Notifier(self.path, watchdog=10)
        notifier.keep_alive(clock)
        self.assertEqual(self.heard(), [["WATCHDOG=1"]])
        clock.advance(4.9)
        self.assertEqual(self.heard(), [])
        clock.pump([0.1, 5, 5])
        self.assertEqual(self.heard(), [["WATCHDOG=1"]] * 3)
        notifier.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_none(self) -> None:
        clock = Clock()
        for notifier in (Notifier(self.path), Notifier("", watchdog=10)):
            notifier.keep_alive(clock)
            notifier.stop()
        self.assertEqual((self.heard(), clock.getDelayedCalls()), ([], []))


class EnvironmentTests(NotifyTestCase):
    def test_it_is_not_passed_on(self) -> None:
        environment = {
            "NOTIFY_SOCKET": self.path,
            "WATCHDOG_USEC": "3000000",
            "WATCHDOG_PID": str(os.getpid()),
            "A": "",
        }
        notifier = Notifier.from_environment(environment)
        self.assertEqual(environment, {"A": ""})
        clock = Clock()
        notifier.keep_alive(clock)
        clock.advance(1.5)
        self.assertEqual(self.heard(), [["WATCHDOG=1"]] * 2)

    def test_no_watchdog(self) -> None:
        """Of another process, or of none that makes sense."""
        for more in ({}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "-5"}):
            clock = Clock()
            Notifier.from_environment({"NOTIFY_SOCKET": self.path, **more}).keep_alive(clock)
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_no_manager(self) -> None:
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
            Notifier.from_environment(environment).ready("here")
        self.assertEqual(self.heard(), [])

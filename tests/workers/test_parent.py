"""The parent in this process, with workers that are not there: what they would be is noted, and what they would say is
said for them."""

import errno
import pickle
import signal
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.loopback import LoopbackTestCase
from tests.test_service import Endpoint, Port
from tests.workers.kit import Process, logged_by
from twistsmtp.config import Config, load
from twistsmtp.limits import Limits
from twistsmtp.workers.messages import LOG, Frames, Start, frame
from twistsmtp.workers.parent import Parent
from twistsmtp.workers.process import Worker


class Spawned(Process):
    """A worker's process, and how it was started."""

    def __init__(self, worker: Worker, pid: int, command: list[str], environment: object, fds: dict[int, Any]) -> None:
        super().__init__(worker, pid)
        self.command, self.environment, self.fds = command, environment, fds
        # The first that it is told is what it is to be.
        later = self._frames
        self._frames = Frames(lambda message: self._begin(pickle.loads(message), later))

    def _begin(self, start: Start, later: Frames) -> None:
        self.start, self._frames = start, later


class Manager:
    """The service manager."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.heard.append(name)


class ParentTestCase(LoopbackTestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.processes: list[Spawned] = []
        self.patch(reactor, "spawnProcess", self.spawn)
        for number in signal.SIGHUP, signal.SIGTERM, signal.SIGINT:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.logged = logged_by(self, "twistsmtp.service")
        self.output = StringIO()
        self.patch(sys, "stdout", self.output)

    def spawn(
        self,
        worker: Worker,
        path: str,
        command: list[str],
        environment: object,
        childFDs: dict[int, Any],  # noqa: N803
    ) -> None:
        self.processes.append(Spawned(worker, 100 + len(self.processes), command, environment, childFDs))

    def make(self, read: Any = None, **settings: Any) -> Parent:
        """A parent of two workers."""
        common = {"hostname": "mx.test", "domains": ("mx.test",), "delivery": "discard:", "workers": 2}
        config = Config(**{**common, "listen": ("tcp:0:interface=127.0.0.1",), **settings})
        parent = Parent(config, {"nodaemon": 1}, read)
        self.manager: Any = Manager()
        self.patch(parent, "_notifier", self.manager)
        return parent

    def begin(self, read: Any = None, **settings: Any) -> Parent:
        """It has started, and its workers take mail."""
        parent = self.make(read, **settings)
        parent.privilegedStartService()
        self.assertEqual(self.processes, [])
        parent.startService()
        self.addCleanup(self.end, parent)
        return parent

    def ready(self) -> None:
        for each in self.processes:
            each.say("ready")

    def end(self, parent: Parent) -> "Deferred[None]":
        """Have it stop, if it has not, and its workers as they are told."""
        if not parent.running:
            return succeed(None)
        stopped = parent.stopService()
        for each in self.processes:
            if each.pid is not None:
                each.say("drain")
                each.end()
        return stopped


class StartTests(ParentTestCase):
    def test_what_a_worker_is_given(self) -> None:
        """Sockets, and the configuration by the pipe: no secret is for others to see."""
        parent = self.begin(
            listen_lmtp=("tcp:0:interface=127.0.0.1",), auth=("memory:ada:secret",), plaintext_auth=True
        )
        self.assertEqual([each.worker.number for each in self.processes], [1, 2])
        first, second = self.processes
        self.assertEqual(first.command[:2], [sys.executable, "-c"])
        self.assertEqual(first.command[-1], "worker 1")
        self.assertNotIn("secret", repr((first.command, first.environment)))
        self.assertEqual(first.start.config, parent.config)
        self.assertEqual((first.start.number, second.start.number, first.start.log_format), (1, 2, "text"))
        ports: list[Any] = [*parent.ports]
        self.assertEqual([first.fds[each] for each in first.start.sockets], [each.fileno() for each in ports])
        self.assertEqual({each for each in ports if each in self.reactor.getReaders()}, set())
        self.assertEqual([each.factory.lmtp for each in ports], [False, True])

    def test_the_manager_is_told_when_all_are_ready(self) -> None:
        parent = self.begin(metrics="tcp:0:interface=127.0.0.1")
        monitor: Any = parent.monitor
        self.assertEqual((bool(monitor._ready()), bool(monitor._healthy())), (False, True))
        self.processes[0].say("ready")
        self.assertEqual((self.manager.heard, bool(monitor._ready())), (["keep_alive"], False))
        self.processes[1].say("ready")
        self.assertEqual((self.manager.heard, bool(monitor._ready())), (["keep_alive", "ready"], True))
        self.processes[0].end(signal=9)
        self.assertEqual((bool(monitor._ready()), bool(monitor._healthy())), (True, True))
        self.processes[1].end(signal=9)
        self.assertEqual((bool(monitor._ready()), bool(monitor._healthy())), (False, False))

    def test_a_worker_cannot_start(self) -> None:
        raised: list[int] = []
        self.patch(signal, "raise_signal", raised.append)
        self.begin()
        self.processes[0].say("failed", why="no room")
        self.assertEqual((raised, self.logged()[-1]), ([signal.SIGTERM], "critical no room"))

    def test_what_no_worker_would_start_with(self) -> None:
        parent = self.make(delivery="program:/nowhere/x")
        parent.privilegedStartService()
        self.assertRaises(SystemExit, parent.startService)
        self.assertRegex(self.logged()[-1], r"\Acritical delivery 'program:/nowhere/x': ")
        self.assertEqual(self.processes, [])

    def test_endpoints_that_cannot_be_shared(self) -> None:
        for listen, said in (
            (lambda: Port("here"), "critical cannot listen on x: it is no socket that workers could share"),
            (Deferred, "critical one of the endpoints takes its time to listen, which workers cannot wait for"),
        ):
            parent = self.make()
            parent.endpoints = {"x": Endpoint(listen)}
            self.assertRaises(SystemExit, parent.privilegedStartService)
            self.assertEqual(self.logged()[-1], said)

    def test_the_log(self) -> None:
        """Lines of workers are written with its own."""
        self.begin()
        self.processes[0].worker.childDataReceived(1, frame(LOG + b"hello\n"))
        self.assertIn("hello\n", self.output.getvalue())

    def test_the_log_cannot_be_written(self) -> None:
        """A disk that is full ends no worker."""

        def write(text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(self.output, "write", write)
        self.begin()
        self.processes[0].worker.childDataReceived(1, frame(LOG + b"hello\n"))
        self.assertEqual(self.processes[0].signals, [])


class ReloadTests(ParentTestCase):
    async def test_all_or_none(self) -> None:
        path = Path(self.mktemp())
        given = {"listen": "tcp:0:interface=127.0.0.1", "delivery": "discard:", "workers": "2", "hostname": "mx.test"}
        path.write_text("")
        parent = self.begin(lambda hostname: load(given, str(path), hostname))
        self.ready()
        for text, size in ("max-size = 5", 5), ("max-size = ", 5), ("max-size = 7", 7):
            path.write_text(text)
            reloaded = parent.reload()
            await self.until(lambda: all(each.told for each in self.processes))
            for process in self.processes:
                [(kind, config)] = process.told
                self.assertEqual((kind, config.limits.message_size, process.kinds), ("reload", size, ["reload"]))
            self.assertEqual(self.manager.heard[-1], "reloading")
            for process in self.processes:
                process.say("reload")
            await reloaded
            self.assertEqual(self.manager.heard[-1], "ready")
        self.processes[0].end(signal=9)
        await self.until(lambda: len(self.processes) == 3)
        self.assertEqual(self.processes[2].start.config.limits, Limits(message_size=7))

    async def test_it_does_not_run(self) -> None:
        await self.make().reload()
        self.assertEqual(self.manager.heard, [])


class StopTests(ParentTestCase):
    async def test_in_order(self) -> None:
        parent = self.begin()
        self.ready()
        ports: list[Any] = [*parent.ports]
        stopped = parent.stopService()
        self.assertEqual([each.kinds for each in self.processes], [["drain"], ["drain"]])
        self.assertTrue(ports[0].connected)
        for each in self.processes:
            each.say("drain")
        await self.until(lambda: not ports[0].connected)
        self.assertNoResult(stopped)
        parent.hurry()
        self.assertEqual([each.kinds for each in self.processes], [["hurry"], ["hurry"]])
        for each in self.processes:
            each.say("metrics", families=[])
            each.end()
        await stopped
        self.assertEqual(self.manager.heard[-2:], ["stopping", "stop"])

    async def test_it_starts_again(self) -> None:
        parent = self.begin()
        self.ready()
        await self.end(parent)
        parent.startService()
        self.assertEqual(len(self.processes), 4)
        self.assertEqual(self.manager.heard.count("ready"), 1)
        for each in self.processes[2:]:
            each.say("ready")
        self.assertEqual(self.manager.heard.count("ready"), 2)

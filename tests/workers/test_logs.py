"""The log of workers on its way to the parent's."""

import json
from io import StringIO
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.log import JSONObserver, TextObserver
from twistsmtp.workers import logs
from twistsmtp.workers.logs import Upwards, passing_on
from twistsmtp.workers.messages import Frames, unpack

EVENT: LogEvent = {
    "log_time": 1.0,
    "log_level": LogLevel.warn,
    "log_namespace": "here",
    "log_format": "{who} waits",
    "who": "Ada",
}


def failure() -> Failure:
    try:
        raise ValueError("no")
    except ValueError:
        return Failure()


class WorkerTests(SynchronousTestCase):
    """Each line says whose it is."""

    def test_text(self) -> None:
        file = StringIO()
        observe = TextObserver(file, worker=3)
        observe(EVENT)
        observe({**EVENT, "log_time": None})
        lines = ["1970-01-01T00:00:01+0000 worker=3 [here#warn] Ada waits\n", "- worker=3 [here#warn] Ada waits\n"]
        self.assertEqual(file.getvalue(), "".join(lines))

    def test_json(self) -> None:
        file = StringIO()
        JSONObserver(file, worker=3)(EVENT)
        said = json.loads(file.getvalue())
        self.assertEqual((said["worker"], said["who"], said["message"]), (3, "Ada", "Ada waits"))


class ParentTests(SynchronousTestCase):
    def test_ours(self) -> None:
        """Lines go where its own do, behind those that wait."""
        file = StringIO()
        observer = TextObserver(file, lambda write: None)
        log_format, write = passing_on(observer, "text")
        observer.lines.gather("first\n")
        write("second\n")
        self.assertEqual((log_format, file.getvalue()), ("text", "first\nsecond\n"))

    def test_of_others(self) -> None:
        """Events are logged as the parent's own, whatever their fields are called."""
        events: list[Any] = []
        log_format, write = passing_on(None, "text")
        self.assertEqual(log_format, "json")
        file = StringIO()
        observe = JSONObserver(file, worker=3)
        observe({**EVENT, "log_extra": 1, "time": "noon", "worker": "x"})
        observe({**EVENT, "log_failure": failure()})
        globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type]  # a function does
        self.addCleanup(globalLogPublisher.removeObserver, events.append)  # type: ignore[arg-type]  # the same
        write(file.getvalue())
        first, second = events
        self.assertEqual((first["who"], first["log_time"], first["log_level"]), ("Ada", 1.0, LogLevel.warn))
        self.assertEqual(first["log_namespace"], "here")
        self.assertIn("Ada waits", formatEvent(first))
        self.assertIn("ValueError: no", formatEvent(second))


class UpwardsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sent: list[Any] = []
        frames = Frames(lambda message: self.sent.append(unpack(message)))
        self.log = Upwards(frames.feed)
        self.patch(logs, "ROOM", 10)

    def test_at_once(self) -> None:
        self.log.write("one\n")
        self.log.flush()
        self.assertEqual(self.sent, ["one\n"])

    def test_kept(self) -> None:
        """In order, when the parent takes it."""
        self.log.paused = True
        self.log.write("one\n")
        self.log.write("two\n")
        self.assertEqual(self.sent, [])
        self.assertEqual(self.log.resume(), 0)
        self.log.write("three\n")
        self.assertEqual(self.sent, ["one\n", "two\n", "three\n"])

    def test_too_much(self) -> None:
        """What there is no room for is counted; and there is room again for what has gone."""
        log = Upwards(self.log._send)
        for _ in range(2):
            log.paused = True
            for each in "one\n", "two\n", "three\nfour\n", "x\n", "five\n":
                log.write(each)
            self.assertEqual(log.resume(), 3)
        self.assertEqual(self.sent, ["one\n", "two\n", "x\n"] * 2)

    def test_paused_again(self) -> None:
        """While it says what it has kept."""
        log = Upwards(lambda octets: self.stop(log, octets))
        log.paused = True
        for each in "one\n", "two\n", "three\nfour\n":
            log.write(each)
        self.assertEqual((log.resume(), len(self.sent)), (0, 1))
        self.assertEqual((log.resume(), len(self.sent)), (0, 2))
        self.assertEqual(log.resume(), 2)

    def stop(self, log: Upwards, octets: bytes) -> None:
        self.sent.append(octets)
        log.paused = True

    def test_an_observer_writes_to_it(self) -> None:
        Logger(namespace="x", observer=TextObserver(self.log, worker=1)).info("hello")  # type: ignore[arg-type]
        [line] = self.sent
        self.assertRegex(line, r"\A\S+ worker=1 \[x\] hello\n\Z")

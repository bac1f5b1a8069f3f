"""The workers as their parent has them, without processes: they are what the tests say they are."""

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.workers.kit import Process, logged_by
from twistsmtp.config import Config
from twistsmtp.workers import crew
from twistsmtp.workers.crew import Crew
from twistsmtp.workers.messages import frame
from twistsmtp.workers.process import Worker


class CrewTestCase(SynchronousTestCase):
    """Two workers."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.processes: list[Process] = []
        #: What the parent was told.
        self.told: list[object] = []
        self.crew = Crew(
            2,
            self.spawn,
            self.clock,
            logged=self.told.append,
            ready=lambda: self.told.append("ready"),
            failed=self.told.append,
            counted=lambda number, said: self.told.append((number, said)),
            left=lambda number: self.told.append(f"{number} left"),
        )
        self.logged = logged_by(self, "twistsmtp.workers")

    def spawn(self, worker: Worker) -> None:
        self.processes.append(Process(worker, 100 + len(self.processes)))

    def start(self) -> list[Process]:
        """Both take mail."""
        self.crew.start()
        for each in self.processes:
            each.say("ready")
        self.assertEqual(self.told, ["ready"])
        self.told.clear()
        self.logged()
        return self.processes

    def pass_time(self, seconds: float) -> None:
        """In steps that are short enough for everybody."""
        self.clock.pump([0.25] * round(seconds * 4))

    def left(self) -> list[object]:
        return [*self.clock.getDelayedCalls()]


class StartTests(CrewTestCase):
    def test_ready_when_all_are(self) -> None:
        self.crew.start()
        first, second = self.processes
        second.say("ready")
        self.assertEqual((self.told, self.crew.started, len(self.crew.ready)), ([], False, 1))
        first.say("ready")
        self.assertEqual((self.told, self.crew.started, len(self.crew.ready)), (["ready"], True, 2))
        self.assertEqual(
            self.logged(), ["info worker 2 (process 101) takes mail", "info worker 1 (process 100) takes mail"]
        )

    def test_one_cannot(self) -> None:
        """That ends it all, and is said once."""
        self.crew.start()
        for each in self.processes:
            each.say("failed", why="no room\n\x1b[2J")
            each.end(1)
        self.assertEqual(self.told[0], r"no room\x0a\x1b[2J")
        self.assertEqual([each for each in self.told if each not in ("1 left", "2 left")], self.told[:1])
        self.assertEqual(len(self.processes), 2)
        self.assertEqual(self.successResultOf(self.crew.drain(1)), None)

    def test_one_ends(self) -> None:
        self.crew.start()
        self.processes[0].end(3)
        self.assertEqual(self.told, ["1 left", "worker 1 (process 100) ended with status 3 before it took mail"])

    def test_one_is_killed(self) -> None:
        """That is no fault of the configuration."""
        self.crew.start()
        self.processes[0].end(signal=9)
        self.pass_time(0.5)
        self.assertEqual(len(self.processes), 3)

    def test_no_such_program(self) -> None:
        def spawn(worker: Worker) -> None:
            raise FileNotFoundError(2, "No such file or directory", "/nowhere/python")

        self.patch(self.crew, "_spawn", spawn)
        self.crew.start()
        self.assertIn("worker 1 cannot be started: No such file or directory: /nowhere/python", self.told)

    def test_one_takes_too_long(self) -> None:
        self.crew.start()
        self.processes[1].say("ready")
        for _ in range(14):
            self.pass_time(5)
            if "ping" in self.processes[1].kinds:
                self.processes[1].say("ping")
        self.assertEqual(self.processes[0].signals, ["KILL"])
        self.assertEqual(self.processes[1].signals, [])
        self.assertEqual(len(self.processes), 3)


class RestartTests(CrewTestCase):
    def delays(self, times: int) -> list[float]:
        """End the first worker again and again, as soon as it takes mail; the seconds until it is there again."""
        delays = []
        for _ in range(times):
            worker = self.crew.places[0].worker
            assert worker is not None
            worker.transport.say("ready")
            count, since = len(self.processes), self.clock.seconds()
            worker.transport.end(1)
            while len(self.processes) == count:
                self.pass_time(0.25)
                if "ping" in self.processes[1].kinds:
                    self.processes[1].say("ping")
            delays.append(self.clock.seconds() - since)
        return delays

    def test_ever_later(self) -> None:
        self.start()
        self.assertEqual(self.delays(9), [0.5, 1, 2, 4, 8, 16, 30, 30, 30])
        [*_, last] = [each for each in self.logged() if each.startswith("error")]
        self.assertRegex(
            last, r"error worker 1 \(process \d+\) ended with status 1, 9 times in a row; another one starts in 30 s"
        )
        self.assertEqual(self.crew.places[0].restarts, 9)

    def test_one_that_was_there_for_long(self) -> None:
        self.start()
        self.delays(5)
        self.processes[-1].say("ready")
        for _ in range(13):
            self.pass_time(5)
            for each in self.processes[1], self.processes[-1]:
                if "ping" in each.kinds:
                    each.say("ping")
        count = len(self.processes)
        self.processes[-1].end(signal=11)
        self.clock.advance(0)
        self.assertEqual(len(self.processes), count + 1)
        self.assertEqual(self.delays(1), [1])

    def test_the_others_go_on(self) -> None:
        first, second = self.start()
        first.end(signal=9)
        self.assertEqual(([each.process for each in self.crew.ready], self.crew.alive), ([101], True))
        self.assertEqual(self.told, ["1 left"])
        second.end(signal=9)
        self.assertEqual((self.crew.ready, self.crew.alive), ([], False))

    def test_it_cannot_start_any_more(self) -> None:
        """A file that it needs is broken now. It is tried again."""
        first, _ = self.start()
        first.end(signal=9)
        self.pass_time(0.5)
        self.processes[2].say("failed", why="tls-cert: no")
        self.processes[2].end(1)
        self.assertIn("error worker 1 (process 102) cannot start: tls-cert: no", self.logged())
        self.pass_time(1)
        self.processes[3].say("ready")
        self.assertEqual(len(self.crew.ready), 2)


class WatchTests(CrewTestCase):
    def test_one_that_stands_still(self) -> None:
        """It is asked once, not again and again; killed after half a minute, and replaced."""
        first, second = self.start()
        for _ in range(6):
            self.pass_time(5)
            if "ping" in second.kinds:
                second.say("ping")
        self.assertEqual((first.kinds, first.signals), (["ping"], []))
        self.pass_time(5)
        self.assertEqual((first.signals, second.signals), (["KILL"], []))
        self.assertEqual(
            self.logged(),
            [
                "error worker 1 (process 100) does not answer, and is killed",
                "error worker 1 (process 100) was killed by signal 9; another one starts in 0.5 s",
            ],
        )

    def test_one_that_comes_back(self) -> None:
        first, second = self.start()
        for _ in range(20):
            self.pass_time(5)
            second.say("ping")
            if _ % 5 == 4:
                first.say("ping")
        self.assertEqual(first.signals, [])

    def test_one_that_talks_nonsense(self) -> None:
        first, second = self.start()
        first.worker.childDataReceived(1, frame(b"J" + json.dumps([1]).encode()))
        second.worker.childDataReceived(1, b"\xff" * 4)
        self.assertEqual((first.signals, second.signals), (["KILL"], ["KILL"]))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_the_log(self) -> None:
        first, _ = self.start()
        first.worker.childDataReceived(1, frame(b"L" + "é\n".encode()))
        self.assertEqual(self.told, ["é\n"])

    def test_the_standard_error(self) -> None:
        """Line by line, made printable, and no line without an end."""
        first, _ = self.start()
        for octets in b"Fatal Python error: \x1b[2J\n\nwith", b"out an end":
            first.worker.childDataReceived(2, octets)
        self.assertEqual(self.logged(), [r"warn worker 1 (process 100): Fatal Python error: \x1b[2J"])
        first.worker.childDataReceived(2, b"x" * 5000)
        [line] = self.logged()
        self.assertEqual(len(line), len("warn worker 1 (process 100): ") + 1000)
        first.worker.childDataReceived(2, b"last words")
        first.end(signal=6)
        self.assertEqual(self.logged()[0], "warn worker 1 (process 100): last words")


class RenewTests(CrewTestCase):
    config = Config(hostname="mx.test", domains=("a.test",))

    def test_all(self) -> None:
        first, second = self.start()
        renewed = self.crew.renew(self.config)
        self.assertEqual(first.told, [("reload", self.config)])
        first.say("reload")
        self.assertNoResult(renewed)
        second.say("reload")
        self.successResultOf(renewed)

    def test_one_that_does_not_answer(self) -> None:
        first, second = self.start()
        renewed = self.crew.renew(self.config)
        second.end(signal=9)
        self.pass_time(crew.RELOAD_TIME)
        self.successResultOf(renewed)
        first.say("reload")  # which comes too late for somebody to hear

    def test_one_that_begins(self) -> None:
        """It was started with the configuration before; one that is started later is not told what it knows."""
        first, second = self.start()
        first.end(signal=9)
        self.pass_time(0.5)
        self.crew.renew(self.config)
        self.assertEqual(second.kinds, ["reload"])
        self.assertEqual(self.processes[2].kinds, [])
        self.processes[2].say("ready")
        self.assertEqual(self.processes[2].kinds, ["reload"])
        second.end(signal=9)
        self.pass_time(0.5)
        self.processes[3].say("ready")
        self.assertEqual(self.processes[3].kinds, [])


class CountTests(CrewTestCase):
    def test_who_answers(self) -> None:
        first, second = self.start()
        counted = self.crew.count()
        first.say("metrics", families=[1])
        self.pass_time(crew.COUNT_TIME)
        self.successResultOf(counted)
        self.assertEqual(self.told, [(1, {"families": [1]})])
        again = self.crew.count()
        self.assertEqual((first.kinds, second.kinds), (["metrics", "metrics"], ["metrics"]))
        for each in first, second:
            each.say("metrics", families=[2])
        self.successResultOf(again)
        self.assertEqual(self.told[1:], [(1, {"families": [2]}), (2, {"families": [2]})])

    def test_one_answers_and_is_gone(self) -> None:
        """What it says counts before its end, which adds it to what there was: never behind it, once more."""
        first, second = self.start()
        counted = self.crew.count()
        first.say("metrics", families=[1])
        first.end(signal=9)
        self.assertNoResult(counted)
        second.say("metrics", families=[2])
        self.successResultOf(counted)
        self.assertEqual(self.told, [(1, {"families": [1]}), "1 left", (2, {"families": [2]})])

    def test_late(self) -> None:
        """What comes too late for who has asked counts as well."""
        first, _ = self.start()
        self.crew.count()
        self.pass_time(crew.COUNT_TIME)
        first.say("metrics", families=[4])
        self.assertEqual(self.told, [(1, {"families": [4]})])

    def test_its_pipe_is_shut(self) -> None:
        """To be about to end keeps nobody else from being told."""
        first, second = self.start()

        def write(number: int, octets: bytes) -> None:
            raise KeyError(number)

        self.patch(first, "writeToChild", write)
        renewed, quiet = self.crew.renew(Config()), self.crew.quiet()
        self.assertEqual(second.kinds, ["reload", "drain"])
        first.end()
        second.say("reload")
        second.say("drain")
        self.successResultOf(renewed)
        self.successResultOf(quiet)

    def test_last_words(self) -> None:
        first, _ = self.start()
        first.say("metrics", families=[3])
        self.assertEqual(self.told, [(1, {"families": [3]})])


class EndTests(CrewTestCase):
    def test_in_order(self) -> None:
        first, second = self.start()
        quiet, drained = self.crew.quiet(), self.crew.drain(30)
        self.assertEqual((first.kinds, second.kinds, self.crew.ready), (["drain"], ["drain"], []))
        first.say("drain")
        self.assertNoResult(quiet)
        second.say("drain")
        self.successResultOf(quiet)
        first.end()
        self.assertNoResult(drained)
        second.end()
        self.successResultOf(drained)
        self.assertEqual((len(self.processes), self.left(), self.logged()), (2, [], []))

    def test_one_that_does_not_answer(self) -> None:
        """It listens no longer than a moment: the port is shut then. It is killed when all time is over."""
        first, second = self.start()
        quiet, drained = self.crew.quiet(), self.crew.drain(30)
        second.say("drain")
        second.end()
        self.pass_time(crew.QUIET_TIME)
        self.successResultOf(quiet)
        self.pass_time(30 + crew.END_TIME - crew.QUIET_TIME - 0.25)
        self.assertEqual(first.signals, [])
        self.pass_time(0.25)
        self.assertEqual(first.signals, ["KILL"])
        self.successResultOf(drained)
        self.assertEqual(self.left(), [])

    def test_in_a_hurry(self) -> None:
        first, second = self.start()
        self.crew.quiet()
        drained = self.crew.drain(3600)
        self.pass_time(10)
        self.crew.hurry()
        self.crew.hurry()
        self.assertEqual(first.kinds[:2], ["drain", "hurry"])
        second.end()
        self.pass_time(crew.HURRY_TIME)
        self.assertEqual(first.signals, ["KILL"])
        self.successResultOf(drained)

    def test_one_that_begins(self) -> None:
        """It is not waited for; nor is one that was to begin."""
        first, second = self.start()
        first.end(signal=9)
        self.pass_time(0.5)
        second.end(signal=9)
        self.crew.quiet()
        drained = self.crew.drain(30)
        self.assertEqual(self.processes[2].signals, ["TERM"])
        self.processes[2].end(signal=15)
        self.successResultOf(drained)
        self.assertEqual((len(self.processes), self.left()), (3, []))

    def test_nobody_is_there(self) -> None:
        self.successResultOf(self.crew.quiet())
        self.successResultOf(self.crew.drain(30))
        self.crew.hurry()
        self.assertEqual(self.left(), [])

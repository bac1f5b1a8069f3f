"""The parts of a server: when each is started, loaded again and stopped."""

from typing import Any, cast

from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.checkers.together import by_interface
from twistsmtp.lifecycle import STOP_TIME, PartError, Parts


class Part:
    """Has all there is to take part in, and notes it."""

    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self.story = story
        self.error: Exception | None = None
        self.answer: Deferred[None] | None = None

    def check(self) -> None:
        self._note("check")

    def start(self) -> None:
        self._note("start")

    def reload(self) -> None:
        self._note("reload")

    def stop(self) -> Deferred[None] | None:
        self._note("stop")
        return self.answer

    def _note(self, what: str) -> None:
        self.story.append(f"{what} {self.name}")
        if self.error is not None:
            raise self.error


class OnlyStops:
    """As ``async def``."""

    def __init__(self, story: list[str]) -> None:
        self.story = story

    async def stop(self) -> None:
        self.story.append("stop last")


class PartsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.story: list[str] = []
        self.clock = Clock()
        self.a, self.b = Part("a", self.story), Part("b", self.story)
        #: One of them stands there twice, as a delivery that two factories share; one can only be stopped, one nothing.
        self.all: list[Any] = [self.a, self.b, self.a, OnlyStops(self.story), object()]
        self.parts = Parts(lambda: [(f"part {getattr(each, 'name', '')}", each) for each in self.all], self.clock)

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.parts.stop())

    def test_in_order(self) -> None:
        for _ in range(2):
            self.parts.start()
            self.parts.reload()
            self.successResultOf(self.stop())
            expected = ["start a", "start b", "reload a", "reload b", "stop last", "stop b", "stop a"]
            self.assertEqual(self.story, expected)
            self.story.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_check(self) -> None:
        """All are asked, each once, and none is started."""
        self.assertEqual(list(self.parts.check()), [])
        self.a.error, self.b.error = ValueError("no"), OSError("nor this")
        self.assertEqual([str(each) for each in self.parts.check()], ["part a: no", "part b: nor this"])
        self.assertEqual(self.story, ["check a", "check b"] * 2)

    def test_one_stops_when_the_one_behind_it_has(self) -> None:
        self.parts.start()
        self.b.answer = Deferred()
        stopped = self.stop()
        self.assertNotIn("stop a", self.story)
        self.b.answer.callback(None)
        self.assertIn("stop a", self.story)
        self.successResultOf(stopped)

    def test_one_does_not_start(self) -> None:
        """Those before it have been, and are to be stopped."""
        self.b.error = ValueError("no")
        error = self.assertRaises(PartError, self.parts.start)
        self.assertEqual((error.name, error.error, str(error)), ("part b", self.b.error, "part b: no"))
        self.successResultOf(self.stop())
        self.assertEqual(self.story, ["start a", "start b", "stop a"])

    def test_one_cannot_be_loaded_again(self) -> None:
        self.parts.start()
        self.a.error = ZeroDivisionError()
        self.parts.reload()
        self.assertEqual(self.story[-2:], ["reload a", "reload b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_fails_to_stop(self) -> None:
        self.parts.start()
        self.b.error = ZeroDivisionError()
        self.successResultOf(self.stop())
        self.assertEqual(self.story[-1], "stop a")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_takes_too_long_to_stop(self) -> None:
        self.parts.start()
        self.b.answer = Deferred()
        stopped = self.stop()
        self.clock.advance(STOP_TIME)
        self.successResultOf(stopped)
        self.assertEqual(self.story[-1], "stop a")
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_started(self) -> None:
        self.successResultOf(self.stop())
        self.assertEqual(self.story, [])


class PassOnTests(SynchronousTestCase):
    def test_checkers_that_are_asked_together(self) -> None:
        story: list[str] = []

        class Checker(Part):
            credentialInterfaces = (IUsernamePassword,)

        together: Any = by_interface([cast(Any, Checker(name, story)) for name in "ab"])[0]
        parts = Parts(lambda: [("checker", together)], Clock())
        self.assertEqual(list(parts.check()), [])
        parts.start()
        parts.reload()
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))
        self.assertEqual(
            story, ["check a", "check b", "start a", "start b", "reload a", "reload b", "stop b", "stop a"]
        )

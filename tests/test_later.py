"""Values now or later, in every way in which they can come."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, inlineCallbacks, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import AT_ONCE, LATER, Answer, How, Script
from twistsmtp.later import Later, awaited, drive, is_later, then


class Oops(Exception):
    pass


async def at_once(result: object) -> object:
    if isinstance(result, Exception):
        raise result
    return result


async def after(deferred: "Deferred[object]") -> object:
    return await deferred


class Custom:
    """Awaitable, and neither a coroutine nor a Deferred."""

    def __init__(self, deferred: "Deferred[object]") -> None:
        self._deferred = deferred

    def __await__(self) -> Generator[Any, Any, object]:
        return (yield from self._deferred.__await__())


class IsLaterTests(SynchronousTestCase):
    def test_what_is_to_be_awaited(self) -> None:
        coroutine = at_once(1)
        for value in (Deferred(), succeed(1), coroutine, Custom(succeed(1))):
            self.assertTrue(is_later(value), value)
        coroutine.close()

    def test_what_is_there(self) -> None:
        for value in (None, 0, "", b"x", [], object(), Deferred, Failure(Oops())):
            self.assertFalse(is_later(value), value)


class DriveTests(SynchronousTestCase):
    def test_a_result_that_can_be_had_at_once(self) -> None:
        ways: list[Awaitable[object]] = [
            at_once("x"),
            after(succeed("x")),
            succeed("x"),
            Custom(succeed("x")),
            succeed(succeed("x")).addCallback(lambda inner: inner),
            after(succeed(None).addCallback(lambda _: succeed("x"))),
        ]
        for way in ways:
            self.assertEqual(drive(way), "x")

    def test_a_failure_that_is_there_is_raised(self) -> None:
        for way in (at_once(Oops()), after(fail(Oops())), fail(Oops()), Custom(fail(Oops()))):
            self.assertRaises(Oops, drive, way)
        gc.collect()  # a failure that nobody took would be logged now
        self.assertEqual(self.flushLoggedErrors(), [])

    def waiting(self) -> list[tuple["Deferred[object]", Awaitable[object]]]:
        """Ways to wait for a Deferred."""
        ways: list[Callable[[Deferred[object]], Awaitable[object]]] = [
            lambda deferred: deferred,
            after,
            Custom,
            lambda deferred: succeed(None).addCallback(lambda _: deferred),
            lambda deferred: after(after_twice(deferred)),
            lambda deferred: after(succeed(None).addCallback(lambda _: deferred)),
        ]

        def after_twice(deferred: "Deferred[object]") -> "Deferred[object]":
            return Deferred.fromCoroutine(after(deferred))

        deferreds: list[Deferred[object]] = [Deferred() for _ in ways]
        return [(deferred, way(deferred)) for deferred, way in zip(deferreds, ways, strict=True)]

    def test_a_result_that_has_to_wait(self) -> None:
        for deferred, awaitable in self.waiting():
            driven = drive(awaitable)
            assert isinstance(driven, Deferred)
            self.assertNoResult(driven)
            deferred.callback("x")
            self.assertEqual(self.successResultOf(driven), "x")

    def test_a_failure_that_has_to_wait(self) -> None:
        for deferred, awaitable in self.waiting():
            driven = drive(awaitable)
            assert isinstance(driven, Deferred)
            deferred.errback(Oops())
            self.failureResultOf(driven, Oops)

    def test_what_waits_is_cancelled(self) -> None:
        for deferred, awaitable in self.waiting():
            driven = drive(awaitable)
            assert isinstance(driven, Deferred)
            driven.cancel()
            self.failureResultOf(driven, CancelledError)
            self.assertTrue(deferred.called)

    def test_a_coroutine_may_wait_often(self) -> None:
        steps: list[Deferred[int]] = [Deferred(), Deferred(), succeed(4), Deferred()]

        async def total() -> int:
            caught = 0
            for step in steps:
                try:
                    caught += await step
                except Oops:
                    caught += 100
            return caught

        driven = drive(total())
        assert isinstance(driven, Deferred)
        steps[0].callback(1)
        steps[1].errback(Oops())
        self.assertNoResult(driven)
        steps[3].callback(8)
        self.assertEqual(self.successResultOf(driven), 113)

    def test_a_cancelled_coroutine_can_clean_up(self) -> None:
        cleaned = []

        async def work() -> None:
            try:
                await Deferred()
            finally:
                cleaned.append(True)

        driven = drive(work())
        assert isinstance(driven, Deferred)
        driven.cancel()
        self.failureResultOf(driven, CancelledError)
        self.assertEqual(cleaned, [True])

    def test_a_deferred_that_is_firing(self) -> None:
        deferred: Deferred[str] = Deferred()
        driven: list[Any] = []

        def look(result: str) -> str:
            driven.append(drive(deferred))
            return result + "y"

        deferred.addCallback(look).addCallback(lambda result: result + "z")
        deferred.callback("x")
        self.assertEqual(self.successResultOf(driven[0]), "xyz")

    def test_what_waits_for_ever_is_cleaned_up(self) -> None:
        cleaned = []

        async def work() -> None:
            try:
                await Deferred()
            finally:
                cleaned.append(True)

        drive(work())
        gc.collect()
        self.assertEqual(cleaned, [True])

    def test_inline_callbacks(self) -> None:
        first: Deferred[int] = Deferred()

        @inlineCallbacks
        def work() -> Generator[Deferred[Any], Any, int]:
            one = yield first
            two = yield succeed(2)
            return int(one + two)

        driven = drive(work())
        assert isinstance(driven, Deferred)
        first.callback(1)
        self.assertEqual(self.successResultOf(driven), 3)

    def test_the_traceback_leads_to_what_failed(self) -> None:
        deferred: Deferred[None] = Deferred()

        async def the_culprit() -> None:
            await deferred
            raise Oops

        driven = drive(the_culprit())
        assert isinstance(driven, Deferred)
        deferred.callback(None)
        self.assertIn("the_culprit", self.failureResultOf(driven, Oops).getTraceback())


class AwaitedTests(SynchronousTestCase):
    def test_every_way(self) -> None:
        """Only what has to wait waits."""
        for how in How:
            script = Script(x=Answer(how))
            driven = drive(awaited(script.play("x", lambda: "a")))
            self.assertEqual(isinstance(driven, Deferred), how in LATER, how)
            self.assertEqual(len(script.release_all()), how in LATER, how)
            self.assertEqual(self.successResultOf(driven) if isinstance(driven, Deferred) else driven, "a", how)

    def test_none_is_a_value(self) -> None:
        self.assertIsNone(drive(awaited(None)))

    def test_a_failure(self) -> None:
        self.assertRaises(Oops, drive, awaited(fail(Oops())))


class AsyncioTests(SynchronousTestCase):
    """What asyncio's own functions give is waited for, where Twisted runs on asyncio's loop."""

    def test_futures(self) -> None:
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        for fail_with in (None, Oops()):
            future: asyncio.Future[int] = loop.create_future()

            async def twice(awaited: "asyncio.Future[int]" = future) -> int:
                return 2 * await awaited

            driven = drive(twice())
            assert isinstance(driven, Deferred)
            self.assertNoResult(driven)
            if fail_with is None:
                future.set_result(21)
            else:
                future.set_exception(fail_with)
            loop.call_soon(loop.stop)
            loop.run_forever()
            if fail_with is None:
                self.assertEqual(self.successResultOf(driven), 42)
            else:
                self.failureResultOf(driven, Oops)


class ThenTests(SynchronousTestCase):
    """A value and what is made of it, each in every way."""

    def outcome(self, first: Answer, second: Answer) -> tuple[object, int]:
        """What comes of one after the other, and how often that had to wait."""
        script = Script(first=first, second=second)

        def follow(result: str) -> Later[str]:
            return script.play("second", lambda: result + "b")

        try:
            value = then(script.play("first", lambda: "a"), follow)
            if is_later(value):
                value = drive(value)
        except Oops:
            return "oops", 0
        released = len(script.release_all())
        if isinstance(value, Deferred):
            results: list[object] = []
            value.addErrback(lambda failure: failure.trap(Oops) and "oops").addCallback(results.append)
            return results[0], released
        return value, 0

    def test_every_pair_of_ways(self) -> None:
        for first in How:
            for second in How:
                waits = (first in LATER) + (second in LATER)
                self.assertEqual(self.outcome(Answer(first), Answer(second)), ("ab", waits), (first, second))

    def test_a_failure_of_either(self) -> None:
        for first in How:
            for second in How:
                waits = int(first in LATER)
                self.assertEqual(self.outcome(Answer(first, Oops()), Answer(second)), ("oops", waits), (first, second))
                waits += second in LATER
                self.assertEqual(self.outcome(Answer(first), Answer(second, Oops())), ("oops", waits), (first, second))

    def test_what_is_there_makes_no_deferred(self) -> None:
        for how in AT_ONCE:
            self.assertEqual(then(Script(x=Answer(how)).play("x", lambda: 1), lambda one: one + 1), 2)

    def test_none_is_a_value(self) -> None:
        self.assertEqual(then(None, lambda none: (none, 1)), (None, 1))

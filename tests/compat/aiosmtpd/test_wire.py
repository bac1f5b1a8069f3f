"""Twisted's words for what asyncio has."""

import asyncio
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.compat.aiosmtpd.kit import ClockLoop
from twistsmtp.compat.aiosmtpd.wire import LoopClock, address_of, bridged


class Bridges(SynchronousTestCase):
    def run_it(self, coroutine: Any) -> Any:
        async def main() -> Any:
            return await asyncio.create_task(bridged(coroutine, asyncio.get_running_loop()))

        return asyncio.run(main())

    def test_deferreds_and_futures(self) -> None:
        waited: Deferred[str] = Deferred()

        async def work() -> list[Any]:
            asyncio.get_running_loop().call_soon(waited.callback, "later")
            results = [await succeed(1), await waited, await asyncio.sleep(0, "slept")]
            try:
                await fail(ValueError("no"))
            except ValueError as error:
                results.append(str(error))
            return results

        self.assertEqual(self.run_it(work()), [1, "later", "slept", "no"])

    def test_what_fails(self) -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise LookupError

        with self.assertRaises(LookupError):
            self.run_it(work())

    def test_cancelling(self) -> None:
        cancelled: list[str] = []

        async def work() -> None:
            try:
                await Deferred(lambda _: cancelled.append("Deferred"))
            finally:
                cancelled.append("coroutine")

        async def main() -> None:
            task = asyncio.create_task(bridged(work(), asyncio.get_running_loop()))
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        self.assertEqual(cancelled, ["Deferred", "coroutine"])

    def test_a_deferred_that_was_cancelled_elsewhere(self) -> None:
        waited: Deferred[None] = Deferred()

        async def work() -> str:
            asyncio.get_running_loop().call_soon(waited.cancel)
            try:
                await waited
            except CancelledError:
                return "Twisted's"
            return "none"

        self.assertEqual(self.run_it(work()), "Twisted's")


class Clocks(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = ClockLoop()
        self.addCleanup(self.loop.close)
        self.clock = LoopClock(self.loop)

    def advance(self, seconds: float) -> None:
        self.loop.now += seconds
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def test_calls(self) -> None:
        called: list[str] = []
        self.clock.callLater(1, called.append, "first")
        put_off = self.clock.callLater(1, called.append, "put off")
        hurried = self.clock.callLater(9, called.append, "hurried")
        self.clock.callLater(1, called.append, "never").cancel()
        put_off.reset(3)
        hurried.reset(2)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)
        for expected in (["first"], ["first", "hurried"], ["first", "hurried", "put off"]):
            self.advance(1)
            self.assertEqual(called, expected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(put_off.active())

    def test_for_twisteds_functions(self) -> None:
        later = deferLater(self.clock, 5, lambda: "done")
        self.assertNoResult(later)
        self.advance(5)
        self.assertEqual(self.successResultOf(later), "done")


class Addresses(SynchronousTestCase):
    def test_each_kind(self) -> None:
        self.assertEqual(address_of(("192.0.2.1", 25)), IPv4Address("TCP", "192.0.2.1", 25))
        self.assertEqual(address_of(("2001:db8::1", 25, 0, 0)), IPv6Address("TCP", "2001:db8::1", 25))
        for peername in ("", None, b"", object()):
            self.assertEqual(address_of(peername), UNIXAddress(None))

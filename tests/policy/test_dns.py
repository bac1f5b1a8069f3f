"""The DNS as policies ask it."""

from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.names import dns
from twisted.names.error import DNSQueryRefusedError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase, TestCase

import twistsmtp.policy.dns
from tests.policy.names import NOTHING, TTL, Names, a, aaaa, ptr, serve_names, txt
from tests.support import logged
from twistsmtp.later import awaited
from twistsmtp.policy.dns import DNS, Joined, NoAnswer, parse_server, together

LONG = "x" * 250


class LookupTests(SynchronousTestCase):
    """What comes, and for how long it is known."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names(
            {
                "mx.test": [*a("192.0.2.1", "192.0.2.2"), *aaaa("2001:db8::1"), *txt("v=1", "v=2")],
                "1.2.0.192.in-addr.arpa": ptr("mx.test", "b\r\nad.test"),
                "alias.test": [dns.Record_CNAME(b"mx.test", TTL), *a("192.0.2.1")],
                "broken.test": DNSServerError(dns.Message()),
                "refused.test": DNSQueryRefusedError(dns.Message()),
                "down.test": OSError("network is unreachable"),
                "segments.test": [dns.Record_TXT(b"a ", b"b\xff", ttl=TTL)],
                "many.test": a(*(f"192.0.2.{number}" for number in range(200))),
                "zero.test": [dns.Record_A("192.0.2.9", 0)],
                "shortest.test": [dns.Record_A("192.0.2.9", 100), dns.Record_A("192.0.2.8", 20)],
                "years.test": [dns.Record_A("192.0.2.9", 10**9)],
            }
        )
        self.dns = DNS(self.names, reactor=self.clock)

    def look_up(self, found: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(awaited(found)))

    def test_kinds(self) -> None:
        self.assertEqual(("192.0.2.1", "192.0.2.2"), self.look_up(self.dns.a("mx.test")))
        self.assertEqual(("2001:db8::1",), self.look_up(self.dns.aaaa("mx.test")))
        self.assertEqual(("v=1", "v=2"), self.look_up(self.dns.txt("mx.test")))
        self.assertEqual(("mx.test", "b\r\nad.test"), self.look_up(self.dns.ptr(ip_address("192.0.2.1"))))

    def test_reverse_names(self) -> None:
        self.look_up(self.dns.ptr(ip_address("2001:db8::1")))
        self.assertEqual(["1.0.0.0." + "0." * 20 + "8.b.d.0.1.0.0.2.ip6.arpa"], self.names.asked)

    def test_alias(self) -> None:
        """The alias itself is no address."""
        self.assertEqual(("192.0.2.1",), self.look_up(self.dns.a("alias.test")))

    def test_strings_of_a_text_are_one(self) -> None:
        self.assertEqual(("a b\\xff",), self.look_up(self.dns.txt("segments.test")))

    def test_nothing(self) -> None:
        """Of a name that is not there, and of a name that has other things."""
        self.assertEqual((), self.look_up(self.dns.a("nobody.test")))
        self.assertEqual((), self.look_up(self.dns.txt("1.2.0.192.in-addr.arpa")))

    def test_nobody_can_tell(self) -> None:
        for name in ("broken.test", "refused.test", "down.test"):
            self.failureResultOf(Deferred.fromCoroutine(awaited(self.dns.a(name))), NoAnswer)
            self.failureResultOf(Deferred.fromCoroutine(awaited(self.dns.a(name))), NoAnswer)
        self.assertEqual(6, len(self.names.asked))  # that is not kept

    def test_not_for_ever(self) -> None:
        """As many records as anybody needs."""
        self.assertEqual(64, len(self.look_up(self.dns.a("many.test"))))

    def known_for(self, name: str, seconds: float) -> None:
        """That *name* is asked for again after *seconds*, and not before."""
        self.look_up(self.dns.a(name))
        self.clock.advance(seconds - 1)
        self.look_up(self.dns.a(name.upper()))
        self.assertEqual([name], self.names.asked)
        self.clock.advance(1)
        self.look_up(self.dns.a(name))
        self.assertEqual([name] * 2, self.names.asked)

    def test_known_for_its_time(self) -> None:
        self.known_for("mx.test", TTL)

    def test_nothing_is_known_for_its_time(self) -> None:
        self.known_for("nobody.test", NOTHING)

    def test_known_for_the_shortest_time(self) -> None:
        self.known_for("shortest.test", 20)

    def test_known_for_an_hour_at_most(self) -> None:
        self.known_for("years.test", 3600)

    def test_no_time_at_all(self) -> None:
        self.look_up(self.dns.a("zero.test"))
        self.look_up(self.dns.a("zero.test"))
        self.assertEqual(2, len(self.names.asked))

    def test_nothing_without_a_soa(self) -> None:
        """Nobody said for how long (RFC 2308 section 5)."""
        self.names.records["nobody.test"] = dns.DomainError("nobody.test")
        self.assertEqual((), self.look_up(self.dns.a("nobody.test")))
        self.assertEqual((), self.look_up(self.dns.a("nobody.test")))
        self.assertEqual(2, len(self.names.asked))

    def test_reload(self) -> None:
        self.look_up(self.dns.a("mx.test"))
        self.dns.reload()
        self.look_up(self.dns.a("mx.test"))
        self.assertEqual(2, len(self.names.asked))

    def test_room(self) -> None:
        """The longest unused goes first."""
        room = DNS(self.names, reactor=self.clock, room=4200)  # for three
        for name in ("mx.test", "alias.test", "shortest.test", "mx.test", "years.test", "mx.test", "alias.test"):
            self.look_up(room.a(name))
        self.assertEqual(["mx.test", "alias.test", "shortest.test", "years.test", "alias.test"], self.names.asked)

    def test_no_names(self) -> None:
        """What is no name is not asked for: it has nothing."""
        for name in (
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "x" * 64,
            ".".join(["x" * 63] * 4),
            "b\u00fccher.test",
            "a b",
            "a\r\nb",
        ):
            self.assertEqual((), self.dns.a(name), name)
        self.assertEqual([], self.names.asked)

    @given(st.text())
    def test_any_name(self, name: str) -> None:
        found = self.look_up(self.dns.a(name))
        self.assertIsInstance(found, tuple)
        for asked in self.names.asked:
            self.assertLessEqual(max(map(len, asked.split("."))), 63)


class WaitingTests(SynchronousTestCase):
    """While an answer is not there."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names({"mx.test": a("192.0.2.1")}, waits=True)
        self.dns = DNS(self.names, reactor=self.clock, time_limit=4)

    def ask(self, name: str = "mx.test") -> Deferred[Any]:
        return Deferred.fromCoroutine(awaited(self.dns.a(name)))

    def test_asked_once(self) -> None:
        waiting = [self.ask(), self.ask("MX.test"), self.ask()]
        self.assertEqual(["mx.test"], self.names.asked)
        self.names.release()
        self.assertEqual([("192.0.2.1",)] * 3, [self.successResultOf(each) for each in waiting])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_time(self) -> None:
        waiting = [self.ask(), self.ask()]
        self.clock.advance(3.9)
        self.assertNoResult(waiting[0])
        self.clock.advance(0.1)
        for each in waiting:
            self.failureResultOf(each, NoAnswer)
        self.assertEqual(["mx.test"], self.names.cancelled)
        self.ask().addErrback(lambda _: None)
        self.assertEqual(2, len(self.names.asked))

    def test_one_goes(self) -> None:
        """The others still wait."""
        gone, waiting = self.ask(), self.ask()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.assertEqual([], self.names.cancelled)
        self.names.release()
        self.assertEqual(("192.0.2.1",), self.successResultOf(waiting))

    def test_all_go(self) -> None:
        """Then nobody is asked any more."""
        waiting = [self.ask(), self.ask()]
        for each in waiting:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(["mx.test"], self.names.cancelled)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.names.waits = False
        self.assertEqual(("192.0.2.1",), self.successResultOf(self.ask()))

    def test_too_many(self) -> None:
        for number in range(1000):
            self.ask(f"{number}.test").addErrback(lambda _: None)
        self.assertRaises(NoAnswer, self.dns.a, "another.test")
        self.assertEqual(1000, len(self.names.asked))
        self.assertNoResult(self.ask("1.test").addErrback(lambda _: None))
        self.successResultOf(Deferred.fromCoroutine(self.dns.stop()))

    def test_stop(self) -> None:
        waiting = self.ask()
        self.successResultOf(Deferred.fromCoroutine(self.dns.stop()))
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(["mx.test"], self.names.cancelled)
        self.assertEqual([], self.clock.getDelayedCalls())


class DownTests(SynchronousTestCase):
    """When nothing answers, again and again."""

    def setUp(self) -> None:
        self.clock = Clock()
        broken = DNSServerError(dns.Message())
        self.names = Names({"mx.test": a("192.0.2.1"), "x.bl.test": a("127.0.0.2"), "bad.bl.test": broken}, waits=True)
        self.dns = DNS(self.names, reactor=self.clock, time_limit=5)
        self.numbers = count()

    def seconds(self, zone: str = "", name: str = "") -> float | None:
        """How long a question waits for nothing; ``None`` if it is not asked."""
        try:
            asked = self.dns.a(name or f"{next(self.numbers)}.{zone or 'test'}", zone)
        except NoAnswer:
            return None
        waiting = Deferred.fromCoroutine(wait(asked)).addErrback(lambda failure: failure.trap(NoAnswer))
        began = self.clock.seconds()
        while not waiting.called:
            self.clock.advance(0.5)
        return self.clock.seconds() - began

    def answer(self, name: str, zone: str = "") -> None:
        waiting = Deferred.fromCoroutine(wait(self.dns.a(name, zone))).addErrback(lambda failure: None)
        self.names.release()
        self.successResultOf(waiting)

    def test_a_zone(self) -> None:
        """It is not asked any more, but once in a while, to see; the others are."""
        self.assertEqual([5, 5, 5, None, None], [self.seconds("bl.test") for _ in range(5)])
        self.assertEqual(3, len(self.names.asked))
        self.assertEqual(5, self.seconds("other.test"))
        self.clock.advance(25)
        self.assertEqual([5, None], [self.seconds("bl.test") for _ in range(2)])
        self.clock.advance(30)
        self.answer("x.bl.test", "bl.test")
        self.assertEqual([5, 5, 5, None], [self.seconds("bl.test") for _ in range(4)])

    def test_a_zone_that_cannot_tell(self) -> None:
        for _ in range(3):
            self.answer("bad.bl.test", "bl.test")
        self.assertIsNone(self.seconds("bl.test"))

    def test_what_is_known_is_known(self) -> None:
        self.answer("x.bl.test", "bl.test")
        for _ in range(3):
            self.seconds("bl.test")
        self.assertEqual(("127.0.0.2",), self.dns.a("x.bl.test", "bl.test"))

    def test_name_servers(self) -> None:
        """They are asked, and waited for less; the first answer ends that."""
        with logged("twistsmtp.policy") as events:
            self.assertEqual([5, 5, 5, 1, 1], [self.seconds() for _ in range(5)])
        self.assertEqual(1, len(events))
        self.answer("mx.test")
        self.assertEqual(5, self.seconds())

    def test_name_servers_that_cannot_tell(self) -> None:
        """They are there. Whoever has the zone is down, and that is no matter of others."""
        for _ in range(2):
            self.seconds()
        self.answer("bad.bl.test")
        self.assertEqual([5, 5, 5, 1], [self.seconds() for _ in range(4)])

    def test_nobody_waits(self) -> None:
        """What was taken back has neither failed nor been answered."""
        for _ in range(2):
            self.seconds()
        for number in range(3):
            waiting = Deferred.fromCoroutine(wait(self.dns.a(f"taken{number}.test")))
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        self.assertEqual([5, 1], [self.seconds() for _ in range(2)])

    def test_reload(self) -> None:
        for _ in range(4):
            self.seconds("bl.test")
        self.dns.reload()
        self.assertEqual(5, self.seconds("bl.test"))


class JoinedTests(SynchronousTestCase):
    def test_later(self) -> None:
        asked: Deferred[int] = Deferred()
        joined = Joined(asked)
        asked.callback(7)
        for _ in range(2):
            self.assertEqual(7, self.successResultOf(joined.wait()))

    def test_failed(self) -> None:
        joined: Joined[int] = Joined(fail(NoAnswer("no")))
        for _ in range(2):
            self.failureResultOf(joined.wait(), NoAnswer)


async def wait(asked: Any) -> Any:
    return await asked


class TogetherTests(SynchronousTestCase):
    def test_in_their_order(self) -> None:
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()
        both = Deferred.fromCoroutine(together([wait(first), wait(second)]))
        second.callback(2)
        self.assertNoResult(both)
        first.callback(1)
        self.assertEqual([1, 2], self.successResultOf(both))

    def test_cancelled_together(self) -> None:
        cancelled: list[Deferred[Any]] = []
        waiting: list[Deferred[Any]] = [Deferred(cancelled.append) for _ in range(3)]
        both = Deferred.fromCoroutine(together(map(wait, waiting)))
        both.cancel()
        self.failureResultOf(both, CancelledError)
        self.assertEqual(waiting, cancelled)

    def test_nobody_is_left(self) -> None:
        """Who waited for it is gone, without a word."""
        waiting: Deferred[Any] = Deferred()
        asked = together([wait(waiting)])
        asked.send(None)
        asked.close()
        self.assertFalse(waiting.called)

    def test_one_fails(self) -> None:
        cancelled: list[Deferred[Any]] = []
        waiting: list[Deferred[Any]] = [Deferred(cancelled.append) for _ in range(3)]
        all_three = Deferred.fromCoroutine(together(map(wait, waiting)))
        waiting[0].errback(NoAnswer("no"))
        self.failureResultOf(all_three, NoAnswer)
        self.assertEqual(waiting[1:], cancelled)


class ServerTests(SynchronousTestCase):
    """Where a name server is."""

    def test_forms(self) -> None:
        self.assertEqual(("127.0.0.1", 53), parse_server("127.0.0.1"))
        self.assertEqual(("127.0.0.1", 5353), parse_server("127.0.0.1#5353"))
        self.assertEqual(("::1", 53), parse_server("0::1#53"))

    def test_none(self) -> None:
        for text in ("", "ns.test", "127.0.0.1#", "127.0.0.1#0", "127.0.0.1#65536", "127.0.0.1:53", "1.2.3", "#53"):
            self.assertRaises(ValueError, parse_server, text)


class RealTests(TestCase):
    """A server on a socket."""

    timeout = 30

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        names = {"mx.test": [*a("192.0.2.1"), *aaaa("2001:db8::1")], "long.test": txt(*[LONG] * 5)}
        port = serve_names(self, {"test": names, "arpa": {"1.2.0.192.in-addr.arpa": ptr("mx.test")}})
        self.dns = DNS(servers=[("127.0.0.1", port)])
        self.addCleanup(lambda: Deferred.fromCoroutine(self.dns.stop()))

    def timers(self) -> set[Any]:
        """All that there are, but for trial's own."""
        return {call for call in self.reactor.getDelayedCalls() if "onTimeout" not in str(call)}

    async def test_answers(self) -> None:
        self.assertEqual(("192.0.2.1",), await awaited(self.dns.a("mx.test")))
        with capturedLogs() as events:
            self.assertEqual(("2001:db8::1",), await awaited(self.dns.aaaa("mx.test")))
        self.assertEqual([], [each for each in events if "protocol" in (formatEvent(each) or "")])
        self.assertEqual(("mx.test",), await awaited(self.dns.ptr(ip_address("192.0.2.1"))))

    async def test_nothing(self) -> None:
        self.assertEqual((), await awaited(self.dns.a("nobody.test")))
        self.assertEqual((), await awaited(self.dns.txt("mx.test")))

    async def test_too_long_for_a_datagram(self) -> None:
        self.assertEqual((LONG,) * 5, await awaited(self.dns.txt("long.test")))

    async def test_nobody_there(self) -> None:
        """A port where nothing answers: it takes the time that there is."""
        port = self.reactor.listenUDP(0, dns.DNSDatagramProtocol(None), interface="127.0.0.1")
        closed = port.getHost().port
        await port.stopListening()
        before = self.timers()
        silent = DNS(servers=[("127.0.0.1", closed)], time_limit=0.2)
        with self.assertRaises(NoAnswer):
            await awaited(silent.a("mx.test"))
        await silent.stop()
        self.assertEqual(before, self.timers())

    async def test_stopped_in_the_middle(self) -> None:
        """Nothing is left, of a datagram or a connection; and it may be asked again."""
        self.assertEqual((LONG,) * 5, await awaited(self.dns.txt("long.test")))
        self.dns.reload()
        before = self.timers()
        waiting = [Deferred.fromCoroutine(wait(self.dns.txt("long.test"))) for _ in range(2)]
        waiting.append(Deferred.fromCoroutine(wait(self.dns.a("mx.test"))))
        await self.dns.stop()
        for each in waiting:
            self.failureResultOf(each, CancelledError)
        self.assertEqual(before, self.timers())
        self.assertEqual(("192.0.2.1",), await awaited(self.dns.a("mx.test")))

    async def test_servers_of_the_machine(self) -> None:
        """The file that has them is looked at by a timer, which goes when it is stopped."""
        path = self.mktemp()
        Path(path).write_text("nameserver 127.0.0.1\n")
        self.patch(twistsmtp.policy.dns, "_RESOLV", path)
        before = self.timers()
        own = DNS()
        waiting = Deferred.fromCoroutine(wait(own.a("mx.test")))
        self.assertGreater(len(self.timers()), len(before))
        await own.stop()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(before, self.timers())

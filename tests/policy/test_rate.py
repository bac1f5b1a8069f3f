"""Rate limits: buckets, and what clients are told."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.lmtp import LMTPServer
from tests.policy.maps import known, offers
from tests.support import Client, Server, logged
from tests.test_textfile import at_once
from twistsmtp.config import Config
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.rate import Buckets, Rate, RateLimits, parse_rate
from twistsmtp.service import SMTPService

OK, LATER = "250 2.1.0", "451 4.7.1"
RCPT_OK = "250 2.1.5"

TIMES = st.lists(st.floats(0, 30, allow_nan=False), max_size=60)


class RateTests(SynchronousTestCase):
    def test_parse(self) -> None:
        for text, rate in {
            "1/s": Rate(1, 1),
            "100/m": Rate(100, 60),
            "100/h": Rate(100, 3600),
            "500/d": Rate(500, 86400),
            "20/10m": Rate(20, 600),
        }.items():
            self.assertEqual(rate, parse_rate(text))

    def test_what_is_none(self) -> None:
        for text in ("", "100", "100/", "/h", "100/x", "0/h", "1/0h", "-1/h", "1.5/h", "100/hour", "\u0661/h"):
            self.assertRaises(ValueError, parse_rate, text)
        self.assertRaises(ValueError, Rate, 0, 60)
        self.assertRaises(ValueError, Rate, 1, 0.5)


class BucketsTests(SynchronousTestCase):
    def taken(self, buckets: Buckets, key: str, now: float) -> bool:
        has = buckets.has(key, now)
        if has:
            buckets.take(key, now)
        return has

    def test_full_then_evenly(self) -> None:
        buckets = Buckets(Rate(3, 60))
        self.assertEqual([True] * 3 + [False], [self.taken(buckets, "a", 1000) for _ in range(4)])
        self.assertEqual([False, True, False], [self.taken(buckets, "a", now) for now in (1019, 1020, 1021)])
        self.assertEqual([True] * 3 + [False], [self.taken(buckets, "a", 2000) for _ in range(4)])

    def test_each_has_its_own(self) -> None:
        buckets = Buckets(Rate(1, 60))
        self.assertEqual([True, True, False], [self.taken(buckets, key, 0) for key in "aba"])

    @given(st.integers(1, 20), st.sampled_from([1, 7, 60, 3600, 86400]), TIMES, st.sampled_from([0.0, 1.7e9]))
    def test_never_more_and_never_less(self, count: int, seconds: int, pauses: list[float], begin: float) -> None:
        """In any stretch of time there are no more than a full bucket and what came back meanwhile; and whoever
        keeps to the rate is never refused."""
        buckets, now, times = Buckets(Rate(count, seconds)), begin, []
        for pause in pauses:
            now += pause
            if self.taken(buckets, "a", now):
                times.append(now)
            else:
                # As a model that counts what is left says, there is none.
                self.assertLess(self.left(count, seconds, times, now), 1.01)
            for first in range(len(times)):
                most = count + (now - times[first]) * count / seconds
                self.assertLessEqual(len(times) - first, most + 0.01)
        interval = seconds / count
        for step in range(1, 30):
            self.assertTrue(self.taken(buckets, "b", now + step * interval))

    def left(self, count: int, seconds: int, times: list[float], now: float) -> float:
        """How much a bucket has left that was used at *times*."""
        left, last = float(count), times[0]
        for time in [*times, now]:
            left = min(count, left + (time - last) * count / seconds)
            last = time
            left -= 1
        return left + 1

    def test_the_clock_is_put_back(self) -> None:
        """Nobody has to wait for more than the time of the rate, nor has more than a full bucket."""
        buckets = Buckets(Rate(2, 60))
        for _ in range(2):
            buckets.take("a", 1_000_000)
        self.assertFalse(buckets.has("a", 100))
        self.assertTrue(buckets.has("a", 130))
        self.assertEqual([True, True, False], [self.taken(buckets, "a", 160) for _ in range(3)])

    def test_room(self) -> None:
        buckets = Buckets(Rate(1, 60), room=3)
        for key in "abcdefg":
            buckets.take(key, 0)
        self.assertEqual((3, [True, False]), (len(buckets), [buckets.has(key, 0) for key in "ag"]))

    def test_full_ones_are_dropped_first(self) -> None:
        buckets = Buckets(Rate(10, 600), room=3)
        for _ in range(10):
            buckets.take("heavy", 0)
        buckets.take("light", 1)
        buckets.take("middle", 1)
        buckets.take("middle", 1)
        buckets.take("new", 100)  # "light" is full by then
        self.assertFalse(buckets.has("heavy", 1))
        self.assertEqual(3, len(buckets))
        buckets.take("newer", 101)  # and nobody now; "middle" is nearest to it
        for _ in range(9):
            buckets.take("newer", 101)
        self.assertEqual([False, True], [buckets.has(key, 1) for key in ("heavy", "middle")])

    @given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=80))
    def test_bounded(self, uses: list[tuple[int, float]]) -> None:
        buckets, now = Buckets(Rate(2, 10), room=5), 0.0
        for key, pause in uses:
            now += pause
            if buckets.has(key, now):
                buckets.take(key, now)
            self.assertLessEqual(len(buckets), 5)


class LimitsTests(SynchronousTestCase):
    """What clients are told."""

    def serve(self, **settings: Any) -> None:
        self.server = Server(policies=[RateLimits(**settings)])

    def connect(self, peer: Any = "192.0.2.1", user: str = "") -> Client:
        client = self.server.connect(peer).hello()
        return known(client, user) if user else client

    def test_clients(self) -> None:
        self.serve(client=Rate(2, 60))
        self.assertEqual([OK, OK, LATER], offers(self.connect(), "a@x.test", "b@x.test", "c@x.test"))
        self.assertEqual([LATER], offers(self.connect(), ""))
        self.assertEqual([OK], offers(self.connect("192.0.2.2"), "a@x.test"))
        self.server.clock.advance(30)
        self.assertEqual([OK, LATER], offers(self.connect(), "a@x.test", "a@x.test"))

    def test_networks(self) -> None:
        """One site of IPv6 has a network; who comes by a unix socket is nobody's client."""
        self.serve(client=Rate(1, 60))
        codes = []
        for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            codes += offers(self.connect(IPv6Address("TCP", host, 1)), "")
        self.assertEqual([OK, LATER, OK], codes)
        self.assertEqual([OK, OK], offers(self.connect(UNIXAddress(b"/run/x")), "", ""))

    def test_users(self) -> None:
        """From wherever they come."""
        self.serve(user=Rate(2, 60))
        self.assertEqual([OK], offers(self.connect(user="ada"), ""))
        self.assertEqual([OK, LATER], offers(self.connect("192.0.2.2", "ada"), "", ""))
        self.assertEqual([OK], offers(self.connect(user="bob"), ""))
        self.assertEqual([OK] * 3, offers(self.connect(), "", "", ""))
        self.assertEqual([OK] * 3, offers(self.connect(user="anonymous"), "", "", ""))

    def test_senders(self) -> None:
        self.serve(sender=Rate(2, 60))
        names = ["ada@x.test", "ADA+1@X.test", "ada+2@x.test", "bob@x.test", "ada@y.test", "+a@x.test", "+b@x.test"]
        self.assertEqual([OK, OK, LATER, OK, OK, OK, OK], offers(self.connect(), *names))
        self.assertEqual([LATER], offers(self.connect(), "ada@x.test"))

    def test_senders_of_others(self) -> None:
        """Who names somebody's address takes nothing from them, user or not; not even one who has the user's name."""
        self.serve(sender=Rate(1, 60))
        self.assertEqual([OK, LATER], offers(self.connect("192.0.2.9"), *["ada@x.test"] * 2))
        self.assertEqual([OK, LATER], offers(self.connect(user="ada"), *["ada@x.test"] * 2))
        self.assertEqual([LATER], offers(self.connect("192.0.2.2", "ada"), "ada@x.test"))
        self.assertEqual([OK, LATER], offers(self.connect(user="192.0.2.1"), *["ada@x.test"] * 2))
        self.assertEqual([OK, LATER], offers(self.connect(), *["ada@x.test"] * 2))
        self.assertEqual([LATER], offers(self.connect(user="anonymous"), "ada@x.test"))

    def test_null_reverse_path(self) -> None:
        self.serve(sender=Rate(1, 60))
        self.assertEqual([OK] * 3, offers(self.connect(), "", "", ""))

    def test_who_is_refused_uses_nothing_up(self) -> None:
        """Neither that of the limit itself nor of the others."""
        self.serve(client=Rate(3, 60), sender=Rate(1, 60))
        client = self.connect()
        self.assertEqual([OK, LATER, LATER, LATER], offers(client, *["a@x.test"] * 4))
        self.assertEqual([OK, OK, LATER], offers(client, "b@x.test", "c@x.test", "d@x.test"))
        self.server.clock.advance(60)
        self.assertEqual([OK], offers(client, "a@x.test"))

    def test_recipients(self) -> None:
        self.serve(client=Rate(3, 60), recipients=True)
        client = self.connect()
        self.assertEqual([OK] * 5, offers(client, *["a@x.test"] * 5))
        client.say("MAIL FROM:<a@x.test>")
        self.assertEqual([RCPT_OK] * 3 + [LATER], client.codes(*["RCPT TO:<b@mx.test>"] * 4))

    def test_trusted(self) -> None:
        """Users are known by more than their address."""
        self.serve(
            client=Rate(1, 60), sender=Rate(1, 60), user=Rate(1, 60), connections=Rate(1, 60), trusted=["192.0.2.1"]
        )
        self.assertEqual([OK] * 3, offers(self.connect(), *["a@x.test"] * 3))
        self.assertEqual([OK, LATER], offers(self.connect(user="ada"), *["a@x.test"] * 2))

    def test_connections(self) -> None:
        self.serve(connections=Rate(2, 60))
        for code in ("220", "220", "421 4.7.0"):
            client = self.server.connect()
            self.assertEqual([code], client.codes())
            self.assertEqual(code != "220", client.closed)
        self.assertEqual(["220"], self.server.connect("192.0.2.2").codes())
        self.server.clock.advance(30)
        self.assertEqual(["220"], self.server.connect().codes())

    def test_lmtp(self) -> None:
        """All mail of a server comes from one client there."""
        self.server = LMTPServer(policies=[RateLimits(client=Rate(1, 60), sender=Rate(1, 60), connections=Rate(1, 60))])
        for _ in range(2):
            client = self.server.connect()
            self.assertEqual(["220", "250"], client.codes("LHLO client.test"))
            self.assertEqual([OK] * 3, offers(client, *["a@x.test"] * 3))

    def test_what_it_says(self) -> None:
        said = "Too much mail from {} lately; try again later"
        for settings, user, whom in (
            ({"client": Rate(1, 60)}, "", "your address"),
            ({"user": Rate(1, 60), "client": Rate(1, 60)}, "ada", "you"),
            ({"sender": Rate(1, 60)}, "", "this sender"),
        ):
            self.serve(**settings)
            client = self.connect(user=user)
            offers(client, "a@x.test")
            self.assertEqual([f"451 4.7.1 {said.format(whom)}"], client.say("MAIL FROM:<a@x.test>"))
        self.serve(connections=Rate(1, 60))
        self.connect()
        self.assertEqual(
            ["421 4.7.0 Too many connections from your address lately; try again later"], self.server.connect().say()
        )

    def test_log(self) -> None:
        self.serve(user=Rate(1, 60))
        client = self.connect(user="jörg\x1b")
        with logged("twistsmtp.policy") as events:
            offers(client, "", "")
        [event] = events
        self.assertEqual(
            f"{client.session.id} client=192.0.2.1 brings too much mail by the limit for each user: j\\xf6rg\\x1b",
            formatEvent(event),
        )

    def test_nothing_to_limit(self) -> None:
        self.assertRaises(ValueError, RateLimits)

    def test_by_name(self) -> None:
        policy = make_policy(
            "rate:client=1/h:user=2/h:sender=3/h:connections=4/10m:count=recipients:trusted=10.0.0.0/8"
        )
        assert isinstance(policy, RateLimits)
        rates = {name: buckets.rate for name, buckets in policy._buckets.items()}
        expected = {"client": Rate(1, 3600), "user": Rate(2, 3600), "sender": Rate(3, 3600)}
        self.assertEqual({**expected, "connections": Rate(4, 600)}, rates)
        self.assertTrue(policy.recipients)
        for wrong in ("", "client=x", "client=1/h:count=octets", "client=1/h:trusted=x", "recipient=1/h", "1/h"):
            self.assertRaises(ValueError, make_policy, f"rate:{wrong}")


class ReloadTests(SynchronousTestCase):
    def test_counts_survive(self) -> None:
        """A reload is no way to begin anew."""
        config = Config(delivery="memory:", policies=("rate:client=1/h",))
        service = SMTPService(config, Clock(), read=lambda hostname: config, in_thread=at_once)
        server = Server()
        server.factory = service.factory
        self.assertEqual([OK, LATER], offers(server.connect().hello(), "", ""))
        service.reload()
        self.assertEqual([LATER], offers(server.connect().hello(), ""))

"""Reverse DNS."""

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.names import dns
from twisted.names.error import DNSServerError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.authentication import plain, secured
from tests.policy.names import Names, a, aaaa, ptr, serve_names
from tests.support import Client, Server
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xclient import xclient
from twistsmtp.policy.dns import DNS
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.reverse_dns import ReverseDNS, ReverseName, Standing, Wanted, reverse_name

OK, NO, LATER = "250 2.1.5", "550 5.7.25", "450 4.7.25"
SIX = "1.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2.ip6.arpa"


def reverse(last: int) -> str:
    return f"{last}.2.0.192.in-addr.arpa"


RECORDS: dict[str, Any] = {
    reverse(1): ptr("MX.client.test"),
    "mx.client.test": [*a("192.0.2.9", "192.0.2.1"), *aaaa("2001:db8::1")],
    SIX: ptr("mx.client.test"),
    reverse(2): ptr("mx.client.test"),  # which is another's
    # 192.0.2.3 has none.
    reverse(4): DNSServerError(dns.Message()),
    reverse(5): ptr("down.test"),
    "down.test": DNSServerError(dns.Message()),
    reverse(6): ptr("gone.test", "down.test", "six.test"),
    "six.test": a("192.0.2.6"),
    reverse(7): ptr("x\r\n250 OK.test", "a b.test", "1.2.3.4", "test", "*.test", "-.test", "b\u00fc.test", ""),
    reverse(8): ptr(*(f"n{number}.test" for number in range(20))),
    **{f"n{number}.test": a("192.0.2.99") for number in range(19)},
    "n19.test": a("192.0.2.8"),
}


class LookupTests(SynchronousTestCase):
    """What is found out."""

    def setUp(self) -> None:
        self.names = Names(RECORDS)

    def look_up(self, peer: Any) -> ReverseName | None:
        server = Server()
        server.factory.renew(server.factory.limits, [ReverseDNS(dns=DNS(self.names, reactor=server.clock))])
        client = server.connect(peer).hello()
        self.assertEqual(["250 2.1.0", OK], client.codes("MAIL FROM:<>", "RCPT TO:<b@mx.test>"))
        self.session = client.session
        return reverse_name(self.session)

    def test_confirmed(self) -> None:
        for peer in ("192.0.2.1", IPv6Address("TCP", "2001:db8::1", 1), IPv6Address("TCP", "::ffff:192.0.2.1", 1)):
            expected = ReverseName(Standing.CONFIRMED, "mx.client.test", ("mx.client.test",))
            self.assertEqual(expected, self.look_up(peer))

    def test_another(self) -> None:
        """An address says that it has somebody else's name."""
        self.assertEqual(ReverseName(Standing.UNCONFIRMED, None, ("mx.client.test",)), self.look_up("192.0.2.2"))

    def test_the_received_field(self) -> None:
        """It has the name if it leads back, and no other (RFC 5321 section 4.4)."""
        for address, name in (("192.0.2.1", "mx.client.test"), ("192.0.2.2", None)):
            self.look_up(address)
            self.assertEqual(self.session.client_name, name)

    def test_missing(self) -> None:
        self.assertEqual(ReverseName(Standing.MISSING), self.look_up("192.0.2.3"))

    def test_unknown(self) -> None:
        self.assertEqual(ReverseName(Standing.UNKNOWN), self.look_up("192.0.2.4"))
        self.assertEqual(ReverseName(Standing.UNKNOWN, None, ("down.test",)), self.look_up("192.0.2.5"))

    def test_one_of_several(self) -> None:
        found = self.look_up("192.0.2.6")
        self.assertEqual(ReverseName(Standing.CONFIRMED, "six.test", ("gone.test", "down.test", "six.test")), found)

    def test_no_names(self) -> None:
        """What is no name of a host is as none; it is nowhere."""
        self.assertEqual(ReverseName(Standing.MISSING), self.look_up("192.0.2.7"))
        self.assertEqual([reverse(7)], self.names.asked)

    def test_too_many(self) -> None:
        """Who has more than a few names has to do with the first."""
        found = self.look_up("192.0.2.8")
        assert found is not None
        self.assertEqual((Standing.UNCONFIRMED, 5), (found.standing, len(found.claimed)))
        self.assertEqual(6, len(self.names.asked))

    def test_not_looked_up(self) -> None:
        for peer in ("127.0.0.1", "192.168.0.1", IPv6Address("TCP", "fe80::1%eth0", 1), UNIXAddress(b"/run/x")):
            self.assertIsNone(self.look_up(peer))
        self.assertEqual([], self.names.asked)


class RefusalTests(SynchronousTestCase):
    """Who is refused."""

    def setUp(self) -> None:
        self.names = Names(RECORDS)

    def server(self, wanted: Wanted, make: Any = Server, on_failure: Any = "defer", **options: Any) -> Server:
        settings = {"extensions": [*load_extensions(), xclient(["192.0.2.1"])]}
        server: Server = make(**settings)
        policy = ReverseDNS(wanted, dns=DNS(self.names, reactor=server.clock), **options)
        policy.on_failure = on_failure
        server.factory.renew(server.factory.limits, [policy])
        return server

    def codes(self, wanted: Wanted, **options: Any) -> list[str]:
        """What the recipient of each client gets, the last number of whose address is 1 to 7."""
        server = self.server(wanted, **options)
        return [self.code(server.connect(f"192.0.2.{last}").hello()) for last in range(1, 8)]

    def code(self, client: Client) -> str:
        client.say("RSET", "MAIL FROM:<a@client.test>")
        [code] = client.codes("RCPT TO:<b@mx.test>")
        return code

    def test_nothing(self) -> None:
        self.assertEqual([OK] * 7, self.codes(Wanted.NOTHING))

    def test_a_name(self) -> None:
        self.assertEqual([OK, OK, NO, LATER, LATER, OK, NO], self.codes(Wanted.NAME))

    def test_a_confirmed_name(self) -> None:
        self.assertEqual([OK, NO, NO, LATER, LATER, OK, NO], self.codes(Wanted.CONFIRMED))

    def test_pass_on_failure(self) -> None:
        self.assertEqual([OK, OK, NO, OK, OK, OK, NO], self.codes(Wanted.NAME, on_failure="pass"))

    def test_defer(self) -> None:
        self.assertEqual([OK, LATER, LATER, LATER, LATER, OK, LATER], self.codes(Wanted.CONFIRMED, defer=True))

    def test_trusted(self) -> None:
        self.assertEqual([OK] * 7, self.codes(Wanted.CONFIRMED, trusted=["192.0.2.0/24"]))

    def test_what_it_says(self) -> None:
        server = self.server(Wanted.CONFIRMED)
        for last, text in (
            (2, "550 5.7.25 No name of 192.0.2.2 in the DNS leads back to it"),
            (3, "550 5.7.25 192.0.2.3 has no name in the DNS"),
            (4, "450 4.7.25 The name of 192.0.2.4 cannot be looked up now; try again later"),
        ):
            client = server.connect(f"192.0.2.{last}").hello()
            client.say("MAIL FROM:<>")
            self.assertEqual([text], client.say("RCPT TO:<b@mx.test>"))

    def test_users(self) -> None:
        client = self.server(Wanted.CONFIRMED, secured).connect("192.0.2.3").hello()
        self.assertEqual(NO, self.code(client))
        client.say("RSET")
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertEqual(OK, self.code(client))

    def test_who_is_spoken_for(self) -> None:
        client = self.server(Wanted.CONFIRMED).connect("192.0.2.1").hello()
        for last, code in ((3, NO), (6, OK), (2, NO)):
            client.say("RSET", f"XCLIENT ADDR=192.0.2.{last}", "EHLO client.test")
            self.assertEqual(code, self.code(client))
        client.say("RSET", "XCLIENT ADDR=[UNAVAILABLE]", "EHLO client.test")
        self.assertEqual(OK, self.code(client))


class WaitingTests(SynchronousTestCase):
    """While the DNS takes its time."""

    def setUp(self) -> None:
        self.names = Names(RECORDS, waits=True)
        self.server = Server()
        policy = ReverseDNS(Wanted.CONFIRMED, dns=DNS(self.names, reactor=self.server.clock))
        self.server.factory.renew(self.server.factory.limits, [policy])

    def test_mail_waits(self) -> None:
        client = self.server.connect().hello()
        self.assertEqual([], client.codes("MAIL FROM:<>", "RCPT TO:<b@mx.test>"))
        self.names.release()
        self.assertEqual([], client.codes())
        self.names.release()
        self.assertEqual(["250 2.1.0", OK], client.codes())

    def test_not_for_ever(self) -> None:
        client = self.server.connect().hello()
        client.say("MAIL FROM:<>", "RCPT TO:<b@mx.test>")
        self.server.clock.advance(5)
        self.assertEqual(["250 2.1.0", LATER], client.codes())

    def test_both_questions_have_the_time_together(self) -> None:
        for policy in ReverseDNS(), make_policy("reverse-dns:timeout=5"):
            assert isinstance(policy, ReverseDNS)
            self.assertEqual(2.5, policy._dns._time_limit)

    def test_a_client_that_goes_before_it_has_to_wait(self) -> None:
        client = self.server.connect().hello()
        client.vanish()
        self.assertEqual([reverse(1)], self.names.cancelled)
        self.assertEqual([], self.server.clock.getDelayedCalls())
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_client_that_does_not_wait(self) -> None:
        client = self.server.connect().hello()
        client.say("MAIL FROM:<>")
        client.vanish()
        self.assertEqual([reverse(1)], self.names.cancelled)
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_client_that_does_not_wait_for_the_second_question(self) -> None:
        client = self.server.connect().hello()
        client.say("MAIL FROM:<>")
        self.names.release()
        client.vanish()
        self.assertEqual(["mx.client.test"], self.names.cancelled)
        self.assertEqual([], self.flushLoggedErrors())


class OptionsTests(SynchronousTestCase):
    """As the command line has it."""

    def test_options(self) -> None:
        policy = make_policy("reverse-dns:require=confirmed:defer=yes:timeout=2:server=127.0.0.1:on_failure=pass")
        assert isinstance(policy, ReverseDNS)
        self.assertEqual((Wanted.CONFIRMED, True, "pass"), (policy._wanted, policy._defer, policy.on_failure))
        policy = make_policy("reverse-dns")
        assert isinstance(policy, ReverseDNS)
        self.assertEqual((Wanted.NOTHING, False, "defer"), (policy._wanted, policy._defer, policy.on_failure))

    def test_wrong(self) -> None:
        for text in ("require=all", "defer=1", "timeout=0", "server=x", "trusted=x", "refuse=yes"):
            self.assertRaises(ValueError, make_policy, f"reverse-dns:{text}")


class RealTests(TestCase):
    """Asked of a server on a socket."""

    timeout = 30

    async def test_refused(self) -> None:
        from twisted.internet import reactor

        zones = {
            "arpa": {reverse(1): ptr("mx.test"), reverse(2): ptr("mx.test")},
            "test": {"mx.test": a("192.0.2.1")},
        }
        policy = make_policy(f"reverse-dns:require=confirmed:server=127.0.0.1#{serve_names(self, zones)}")
        self.addCleanup(lambda: Deferred.fromCoroutine(policy.stop()))  # type: ignore[attr-defined]  # it is ours
        server = Server(policies=[policy])
        for last, code in ((1, OK), (2, NO), (3, NO)):
            client = server.connect(f"192.0.2.{last}").hello()
            codes = client.codes("MAIL FROM:<>", "RCPT TO:<b@mx.test>")
            while len(codes) < 2:
                tick: Deferred[None] = Deferred()
                reactor.callLater(0.005, tick.callback, None)
                await tick
                codes += client.codes()
            self.assertEqual(["250 2.1.0", code], codes)

"""What it costs to fail, and how often a client may."""

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, eventAsText

from tests.authentication import (
    WRONG,
    Bearers,
    Digests,
    Passwords,
    encoded,
    plain,
    responder,
    secured,
)
from tests.credkit import NOT_RIGHT, RIGHT, TOO_MANY, CredTestCase
from tests.scripted import Answer, How, Script
from twistsmtp.limits import Limits
from twistsmtp.security import Failures

# --- what failing costs --------------------------------------------------------------------------------------


class DelayTests(CredTestCase):
    def test_each_failure_costs_twice_as_much(self) -> None:
        client = self.connect(secured(limits=Limits(auth_failures=8)))
        costs = [self.guess(client) for _ in range(7)]
        self.assertEqual(costs, [(delay, [NOT_RIGHT]) for delay in (1, 2, 4, 8, 16, 16, 16)])

    def test_it_can_be_set(self) -> None:
        client = self.connect(secured(limits=Limits(auth_delay=0.25, auth_delay_most=0.75)))
        self.assertEqual([self.guess(client)[0] for _ in range(3)], [0.25, 0.5, 0.75])

    def test_success_costs_nothing(self) -> None:
        client = self.connect(secured())
        self.guess(client)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_nothing_is_answered_meanwhile_and_nothing_is_lost(self) -> None:
        client = self.connect(secured())
        self.assertEqual(client.codes(f"AUTH PLAIN {plain(WRONG)}", "NOOP", f"AUTH PLAIN {plain()}"), [])
        client.server.clock.advance(0.99)
        self.assertEqual(client.codes(), [])
        client.server.clock.advance(0.01)
        self.assertEqual(client.codes(), [NOT_RIGHT, "250 2.0.0", RIGHT])

    def test_other_connections_do_not_wait(self) -> None:
        server = secured()
        waiting = self.connect(server)
        waiting.say(f"AUTH PLAIN {plain(WRONG)}")
        for peer in ("192.0.2.1", "192.0.2.2"):
            other = self.connect(server, peer)
            self.assertEqual(other.codes("NOOP", f"AUTH PLAIN {plain()}", "MAIL FROM:<>")[1:], [RIGHT, "250 2.1.0"])
        self.assertEqual(waiting.codes(), [])

    def test_how_long_the_check_took_does_not_show(self) -> None:
        # A user who is there costs a hash, and one who is not may cost none.
        for taken, expected in ((0, 1), (0.25, 1), (0.875, 1), (1.125, 2), (2.5, 3)):
            script = Script(check=Answer(How.DEFERRED))
            client = self.connect(secured(Passwords(script)))
            client.say(f"AUTH PLAIN {plain(WRONG)}")
            client.server.clock.advance(taken)
            script.release()
            client.server.clock.advance(expected - taken - 0.0625)
            self.assertEqual(client.codes(), [], taken)
            client.server.clock.advance(0.0625)
            self.assertEqual(client.codes(), [NOT_RIGHT], taken)

    def test_whatever_the_delay_and_the_check_take(self) -> None:
        # 0.7 * 17 is a little less than what 17 steps of 0.7 add up to; nothing can be put off by less than nothing.
        script = Script(check=Answer(How.DEFERRED))
        server = secured(Passwords(script), limits=Limits(auth_delay=0.7))
        later, delays = server.clock.callLater, list[float]()

        def call_later(delay: float, *rest: Any) -> Any:
            delays.append(delay)
            return later(delay, *rest)

        self.patch(server.clock, "callLater", call_later)
        client = self.connect(server)
        client.say(f"AUTH PLAIN {plain(WRONG)}")
        server.clock.advance(11.9)
        script.release()
        client.server.clock.advance(0.7)
        self.assertEqual(client.codes(), [NOT_RIGHT])
        self.assertGreaterEqual(min(delays), 0)

    def test_what_is_no_guess_costs_nothing(self) -> None:
        client = self.connect(secured(Passwords(), Digests()))
        for lines in (["AUTH PLAIN !"], ["AUTH PLAIN ="], ["AUTH PLAIN", "*"], ["AUTH CRAM-MD5", ""], ["AUTH X"]):
            self.assertEqual(client.codes(*lines)[-1][:2], "50")
        self.assertEqual(client.session.counts.auth_failures, 0)
        self.assertEqual(self.guess(client), (1, [NOT_RIGHT]))

    def test_what_a_mechanism_has_to_say_to_a_failure_does_not_make_it_free(self) -> None:
        # RFC 7628 section 3.2.3: the reason is one more challenge, and only then does it fail.
        for end in (b"", b"\x01", None, b"*", b"!", b"x" * 13_000):
            client = self.connect(secured(Bearers()))
            message = responder("XOAUTH2", WRONG)(b"")
            self.assertEqual(client.codes(f"AUTH XOAUTH2 {encoded(message)}"), [])
            client.server.clock.advance(1)  # what it costs comes before what is said about it
            self.assertEqual(client.codes(), ["334"])
            if end is None:
                client.vanish()
            else:
                line = encoded(end) if len(end) < 2 and end not in (b"*", b"!") else end
                # RFC 4954 section 4: "*" is answered by 501, whatever was before.
                self.assertEqual(client.codes(line), ["501 5.7.0" if end == b"*" else NOT_RIGHT], end)
            self.assertEqual(client.session.counts.auth_failures, 1, end)
            self.assertEqual(client.session.security.failures.count("192.0.2.1", 0), 1)


class UnderWayTests(CredTestCase):
    """What counts of an attempt that has not ended."""

    def test_who_goes_away_has_failed_all_the_same(self) -> None:
        script = Script(check=Answer(How.DEFERRED))
        server = secured(Passwords(script))
        for _ in range(3):
            client = self.connect(server)
            client.say(f"AUTH PLAIN {plain(WRONG)}")
            client.vanish()
        self.assertEqual(client.session.security.failures.count("192.0.2.1", server.clock.seconds()), 3)

    def test_the_limit_of_an_address_holds_for_many_at_once(self) -> None:
        script = Script(check=Answer(How.DEFERRED))
        server = secured(Passwords(script), limits=Limits(auth_failures_per_client=3))
        clients = [self.connect(server) for _ in range(5)]
        codes = [client.codes(f"AUTH PLAIN {plain(WRONG)}") for client in clients]
        self.assertEqual(codes, [[], [], [], [TOO_MANY], [TOO_MANY]])

    def test_success_is_not_counted(self) -> None:
        server = secured()
        for _ in range(3):
            client = self.connect(server)
            self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [RIGHT])
        self.assertEqual(client.session.security.failures.count("192.0.2.1", 0), 0)

    def test_a_checker_that_fails_is_not_the_clients_fault(self) -> None:
        script = Script(check=Answer(How.DEFERRED, OSError("the password is " + WRONG)))
        client = self.connect(secured(Passwords(script)))
        with capturedLogs() as events:
            client.say(f"AUTH PLAIN {plain(WRONG)}")
            script.release_all()
        self.assertEqual(client.codes(), ["454 4.7.0"])
        self.assertEqual(client.session.security.failures.count("192.0.2.1", 0), 0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        said = "".join(map(eventAsText, events))
        self.assertIn("OSError", said)
        self.assertNotIn(WRONG, said)

    def test_others_need_not_wait_for_one_who_guesses(self) -> None:
        script = Script(check=Answer(How.DEFERRED))
        server = secured(Passwords(script))
        for _ in range(20):
            self.connect(server).say(f"AUTH PLAIN {plain(WRONG)}")
        self.assertEqual(len(script.waiting), 4)
        self.connect(server, "192.0.2.2").say(f"AUTH PLAIN {plain()}")
        self.assertEqual(len(script.waiting), 5)


class LimitTests(CredTestCase):
    def test_of_a_connection(self) -> None:
        client = self.connect(secured())
        costs = [self.guess(client) for _ in range(5)]
        self.assertEqual(costs, [*((delay, [NOT_RIGHT]) for delay in (1, 2, 4, 8)), (16, [TOO_MANY])])
        self.assertEqual(client.wire.writes[-1], b"421 4.7.0 Too many authentication failures\r\n")
        self.assertTrue(client.closed)

    def test_of_a_client_in_all_its_connections(self) -> None:
        server = secured(limits=Limits(auth_failures_per_client=3, auth_delay=0.125))
        for delay in (0.125, 0.25, 0.5):
            self.assertEqual(self.guess(self.connect(server)), (delay, [NOT_RIGHT]))
        client = self.connect(server)
        self.assertEqual(client.codes(f"AUTH PLAIN {plain()}"), [TOO_MANY])
        self.assertTrue(client.closed)
        self.assertEqual(self.connect(server).codes("NOOP", "MAIL FROM:<>"), ["250 2.0.0", "250 2.1.0"])
        self.assertEqual(self.connect(server, "192.0.2.2").codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_nobody_is_asked_beyond_it(self) -> None:
        checker = Passwords()
        server = secured(checker, limits=Limits(auth_failures_per_client=1))
        self.guess(self.connect(server))
        self.guess(self.connect(server))
        self.assertEqual(len(checker.credentials), 1)

    def test_it_halves_in_time(self) -> None:
        failures = Failures(half_life=100)
        server = secured(limits=Limits(auth_failures_per_client=2), failures=failures)
        for _ in range(3):
            failures.add("192.0.2.1", server.clock.seconds())
        server.clock.advance(90)
        self.assertEqual(self.connect(server).codes(f"AUTH PLAIN {plain()}"), [TOO_MANY])
        server.clock.advance(20)
        self.assertEqual(self.connect(server).codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_the_network_that_a_site_has_counts_as_one(self) -> None:
        server = secured(limits=Limits(auth_failures_per_client=2))
        peers = [IPv6Address("TCP", f"2001:db8:1:2::{host}", 1) for host in (1, 2, 3)]
        for peer in peers[:2]:
            self.guess(self.connect(server, peer))
        self.assertEqual(self.connect(server, peers[2]).codes(f"AUTH PLAIN {plain()}"), [TOO_MANY])
        other = IPv6Address("TCP", "2001:db8:1:3::1", 1)
        self.assertEqual(self.connect(server, other).codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_the_table_is_bounded(self) -> None:
        failures = Failures(room=10)
        server = secured(limits=Limits(auth_delay=0.125), failures=failures)
        for host in range(1, 30):
            self.guess(self.connect(server, f"192.0.2.{host}"))
        now = server.clock.seconds()
        known = [host for host in range(1, 30) if failures.count(f"192.0.2.{host}", now)]
        self.assertEqual(known, list(range(20, 30)))

    def test_clients_of_a_unix_socket(self) -> None:
        # They all have the same address, which is none: one cannot lock out the others.
        server = secured(limits=Limits(auth_failures_per_client=1, auth_failures=2))
        for _ in range(3):
            client = self.connect(server, UNIXAddress("/run/smtp"))
            self.assertEqual([self.guess(client), self.guess(client)], [(1, [NOT_RIGHT]), (2, [TOO_MANY])])
        other = self.connect(server, UNIXAddress(None))
        self.assertEqual(other.codes(f"AUTH PLAIN {plain()}"), [RIGHT])

    def test_failures_are_errors_too(self) -> None:
        client = self.connect(secured(limits=Limits(errors=2)))
        self.guess(client)
        self.assertEqual(self.guess(client)[1], [NOT_RIGHT, TOO_MANY])

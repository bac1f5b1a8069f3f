"""DNS block lists."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from twisted.names import dns
from twisted.names.error import DNSServerError
from twisted.trial.unittest import SynchronousTestCase, TestCase

import twistsmtp.policy.dns
from tests.authentication import plain, secured
from tests.policy.names import Names, a, serve_names, txt
from tests.support import Client, Server, logged, split_replies
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xclient import xclient
from twistsmtp.policy.dns import DNS
from twistsmtp.policy.dnsbl import DNSBlockLists, Listing, parse_list
from twistsmtp.policy.find import make_policy

OK, REFUSED = "250 2.1.5", "554 5.7.1"
LISTED = "1.2.0.192"  # 192.0.2.1, from where the tests connect
SIX = "1.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2"


class ListTests(SynchronousTestCase):
    """How lists are written, and what their answers weigh."""

    def weigh(self, text: str, *answers: str) -> int:
        return parse_list(text).weigh(answers)

    def test_without_a_filter(self) -> None:
        for answer in ("127.0.0.2", "127.0.0.254", "127.0.1.4", "127.255.0.2"):
            self.assertEqual(1, self.weigh("bl.test", answer), answer)
        # Not of a list, or what lists say to whom they do not answer.
        for answer in ("192.0.2.7", "128.0.0.2", "127.0.0.0", "127.0.0.1", "127.0.0.255", "127.0.1.255"):
            self.assertEqual(0, self.weigh("bl.test", answer), answer)

    def test_errors_of_spamhaus(self) -> None:
        """Whatever the filter says."""
        for last in (252, 254, 255, 2):
            self.assertEqual(0, self.weigh("bl.test", f"127.255.255.{last}"))
            self.assertEqual(0, self.weigh("bl.test=127.[0..255].[0..255].[0..255]", f"127.255.255.{last}"))

    def test_weights(self) -> None:
        self.assertEqual(3, self.weigh("bl.test*3", "127.0.0.2"))
        self.assertEqual(-2, self.weigh("wl.test*-2", "127.0.0.2", "127.0.0.3"))
        self.assertEqual(5, self.weigh("bl.test=127.0.0.[2..4]*5", "127.0.0.4"))

    def test_filters(self) -> None:
        text = "bl.test=127.0.0.[2..4;10]*2,127.0.[0..255].9*4,127.0.0.5"
        for answers, weight in (
            (["127.0.0.2"], 2),
            (["127.0.0.10"], 2),
            (["127.0.0.2", "127.0.0.3"], 2),
            (["127.0.77.9"], 4),
            (["127.0.0.5"], 1),
            (["127.0.0.2", "127.0.0.5", "127.0.0.9"], 7),
            (["127.0.0.11"], 0),
            (["127.0.1.2"], 0),
            ([], 0),
        ):
            self.assertEqual(weight, self.weigh(text, *answers), answers)

    def test_what_is_none(self) -> None:
        for text in (
            *(
                "",
                "test",
                "bl test",
                "bl..test",
                ".test",
                "bl.test.",
                "b\u00fc.test",
                "x" * 64 + ".test",
                "@",
                "@@bl.test",
            ),
            *("bl.test*0", "bl.test*", "bl.test*x", "bl.test*2*3", "bl.test*2=127.0.0.2"),
            *("bl.test=", "bl.test=127.0.0", "bl.test=127.0.0.256", "bl.test=127.0.0.[3..2]", "bl.test=127.0.0.[]"),
            *("bl.test=127.0.0.2,", "bl.test=127.0.0.[2", "bl.test=x", "bl.test=127.0.0.[2..]", "bl.test=127.0.0.2..4"),
            ".".join(["x" * 60] * 4),
        ):
            self.assertRaises(ValueError, parse_list, text)

    def test_domains(self) -> None:
        self.assertTrue(parse_list("@DBL.test").of_domains)
        self.assertEqual("dbl.test", parse_list("@DBL.test").zone)

    @given(st.text("ab.=*[];,@-127", max_size=30))
    def test_anything(self, text: str) -> None:
        """It is a list, or a ValueError."""
        try:
            found = parse_list(text)
        except ValueError:
            return
        self.assertTrue(all(each.weight for each in found.filters))


class PolicyTests(SynchronousTestCase):
    """What clients are told."""

    def setUp(self) -> None:
        self.options: dict[str, Any] = {}
        self.names = Names(
            {
                f"{LISTED}.bl.test": [*a("127.0.0.2"), *txt("Listed, see https://bl.test/?ip=192.0.2.1")],
                f"{LISTED}.two.test": a("127.0.0.4"),
                f"{LISTED}.good.test": a("127.0.0.3"),
                f"{SIX}.bl.test": [*a("127.0.0.2"), *txt("A network")],
            }
        )

    def server(self, *lists: str, names: Names | None = None, secure: bool = False, **settings: Any) -> Server:
        make = secured if secure else Server
        server: Server = make(policies=[], **settings)
        self.dns = DNS(names or self.names, reactor=server.clock)
        policy = DNSBlockLists(map(parse_list, lists), dns=self.dns, **self.options)
        server.factory.renew(server.factory.limits, [policy])
        return server

    def connect(self, *lists: str, peer: Any = "192.0.2.1", **settings: Any) -> Client:
        return self.server(*lists, **settings).connect(peer).hello()

    def rcpt(self, client: Client, sender: str = "a@client.test") -> str:
        """What a recipient gets."""
        client.say("RSET", f"MAIL FROM:<{sender}>")
        [reply] = client.say("RCPT TO:<b@mx.test>")
        return reply

    def code(self, client: Client, **options: Any) -> str:
        return self.rcpt(client, **options)[:9]

    def test_listed(self) -> None:
        client = self.connect("bl.test")
        self.assertEqual(
            "554 5.7.1 192.0.2.1 is listed by bl.test: Listed, see https://bl.test/?ip=192.0.2.1", self.rcpt(client)
        )
        expected = Listing("192.0.2.1", "bl.test", 1, f"{LISTED}.bl.test")
        self.assertEqual((expected,), client.session.annotations["dnsbl"])

    def test_ipv6(self) -> None:
        client = self.connect("bl.test", peer=IPv6Address("TCP", "2001:db8::1", 1))
        self.assertEqual("554 5.7.1 2001:db8::1 is listed by bl.test: A network", self.rcpt(client))

    def test_not_listed(self) -> None:
        client = self.connect("bl.test", peer="192.0.2.2")
        self.assertEqual(OK, self.code(client))
        self.assertEqual(["2.2.0.192.bl.test"], self.names.asked)
        self.assertEqual((), client.session.annotations["dnsbl"])

    def test_no_text(self) -> None:
        reply = self.rcpt(self.connect("two.test"))
        self.assertEqual("554 5.7.1 192.0.2.1 is listed by two.test: ask there for the reason", reply)

    def test_no_room_for_another_question(self) -> None:
        """Listed is listed."""
        client = self.connect("bl.test")
        self.patch(twistsmtp.policy.dns, "_MOST", 0)
        self.assertEqual("554 5.7.1 192.0.2.1 is listed by bl.test: ask there for the reason", self.rcpt(client))

    def test_hostile_text(self) -> None:
        """It cannot add a line, and has an end."""
        self.names.records[f"{LISTED}.bl.test"] = [*a("127.0.0.2"), *txt("x\r\n250 OK\x1b[2J\xff", "y" * 250)]
        reply = self.rcpt(self.connect("bl.test"))
        self.assertIn("listed by bl.test: x\\x0d\\x0a250 OK\\x1b[2J\\xff yyy", reply)
        self.assertLess(len(reply), 260)

    def test_braces(self) -> None:
        """What looks like a place to fill is none."""
        self.names.records[f"{LISTED}.bl.test"] = [*a("127.0.0.2"), *txt("{zone} {0} {")]
        self.assertTrue(self.rcpt(self.connect("bl.test")).endswith("{zone} {0} {"))

    def test_threshold(self) -> None:
        self.options = {"threshold": 3}
        for lists, code in (
            (["bl.test"], OK),
            (["bl.test", "two.test"], OK),
            (["bl.test*2", "two.test"], REFUSED),
            (["bl.test*3", "nothing.test"], REFUSED),
            (["bl.test*3", "two.test*2", "good.test*-2"], REFUSED),
            (["bl.test*3", "good.test*-1"], OK),
            (["bl.test=127.0.0.[2..3]*2,127.0.0.[2;9]*1"], REFUSED),
            (["bl.test*2", "bl.test=127.0.0.2"], REFUSED),
            (["bl.test=127.0.0.3*9"], OK),
        ):
            self.assertEqual(code, self.code(self.connect(*lists)), lists)

    def test_the_heaviest_is_named(self) -> None:
        self.assertIn("listed by two.test", self.rcpt(self.connect("bl.test", "two.test*5", "good.test*-1")))

    def test_local_and_trusted(self) -> None:
        """They are not even looked up."""
        self.options = {"trusted": ["192.0.2.0/24"]}
        for peer in ("127.0.0.2", "10.0.0.1", "192.0.2.1"):
            self.assertEqual(OK, self.code(self.connect("bl.test", peer=peer)))
        self.assertEqual([], self.names.asked)

    def test_users(self) -> None:
        client = self.server("bl.test", secure=True).connect().hello()
        self.assertEqual(REFUSED, self.code(client))
        client.say("RSET")
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertEqual(OK, self.code(client))

    def test_log(self) -> None:
        client = self.connect("bl.test", "good.test*-1", "two.test*2")
        with logged("twistsmtp.policy") as events:
            self.rcpt(client)
        lists = "192.0.2.1 in bl.test (+1), 192.0.2.1 in good.test (-1), 192.0.2.1 in two.test (+2)"
        [event] = events
        self.assertEqual(f"{client.session.id} client=192.0.2.1 is refused: {lists}", formatEvent(event))

    def test_asked_once_a_session(self) -> None:
        client = self.connect("bl.test")
        for _ in range(3):
            self.assertEqual(REFUSED, self.code(client))
        self.assertEqual([f"{LISTED}.bl.test"] * 2, self.names.asked)  # the address, and the text

    def test_who_is_spoken_for(self) -> None:
        """By XCLIENT the session is another's."""
        extensions = [*load_extensions(), xclient(["192.0.2.9"])]
        client = self.connect("bl.test", peer="192.0.2.9", extensions=extensions)
        self.assertEqual(OK, self.code(client))
        client.say("RSET", "XCLIENT ADDR=192.0.2.1", "EHLO client.test")
        self.assertEqual(REFUSED, self.code(client))
        client.say("RSET", "XCLIENT ADDR=10.0.0.1", "EHLO client.test")
        self.assertEqual(OK, self.code(client))

    def test_no_list(self) -> None:
        self.assertRaises(ValueError, DNSBlockLists, [])


class SlowTests(PolicyTests):
    """Lists that take their time. What holds for quick ones holds for them."""

    def setUp(self) -> None:
        super().setUp()
        self.names.waits = True

    def rcpt(self, client: Client, sender: str = "a@client.test") -> str:
        client.say("RSET", f"MAIL FROM:<{sender}>")
        said = client.send(b"RCPT TO:<b@mx.test>\r\n")
        for _ in range(2):
            self.names.release()
            said += client.read()
        [reply] = split_replies(said)
        return reply

    def test_nobody_waits_before_rcpt(self) -> None:
        client = self.connect("bl.test", "two.test")
        self.assertEqual([f"{LISTED}.bl.test", f"{LISTED}.two.test"], self.names.asked)
        self.assertEqual(["250 2.1.0"], client.codes("MAIL FROM:<a@client.test>"))
        self.assertEqual([], client.codes("RCPT TO:<b@mx.test>"))

    def test_no_answer_in_time(self) -> None:
        """It counts as nothing."""
        client = self.connect("bl.test", "two.test")
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        client.server.clock.advance(5)
        self.assertEqual([OK], client.codes())
        self.assertEqual({f"{LISTED}.bl.test", f"{LISTED}.two.test"}, set(self.names.cancelled))

    def test_both_kinds_at_one_time(self) -> None:
        client = self.connect("bl.test", "@dbl.test")
        client.server.clock.advance(1)
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        client.server.clock.advance(5)
        self.assertEqual([OK], client.codes())

    def test_one_that_is_down(self) -> None:
        """It costs the first clients time, and not those behind them; but one in a while, that sees."""
        server = self.server("bl.test")
        waited = []
        for pause in (0, 0, 0, 0, 0, 30, 0):
            server.clock.advance(pause)
            client = server.connect().hello()
            client.say("MAIL FROM:<a@client.test>")
            codes = client.codes("RCPT TO:<b@mx.test>")
            waited.append(not codes)
            server.clock.advance(5)
            self.assertEqual([OK], codes + client.codes())
        self.assertEqual([True] * 3 + [False] * 2 + [True, False], waited)

    def test_a_client_that_goes_before_it_has_to_wait(self) -> None:
        client = self.connect("bl.test", "two.test")
        client.vanish()
        self.assertEqual({f"{LISTED}.bl.test", f"{LISTED}.two.test"}, set(self.names.cancelled))
        self.assertEqual([], client.server.clock.getDelayedCalls())
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_client_in_the_place_of_another(self) -> None:
        client = self.connect("bl.test", peer="192.0.2.9", extensions=[*load_extensions(), xclient(["192.0.2.9"])])
        client.say("XCLIENT ADDR=192.0.2.1", "EHLO client.test")
        self.assertEqual(["9.2.0.192.bl.test"], self.names.cancelled)

    def test_no_text_in_time(self) -> None:
        """Listed is listed."""
        client = self.connect("bl.test")
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        self.names.release()
        self.assertEqual([], client.codes())
        client.server.clock.advance(1)
        self.assertEqual([f"{REFUSED} 192.0.2.1 is listed by bl.test: ask there for the reason"], client.say())

    def test_a_client_that_does_not_wait(self) -> None:
        """What was asked for it is taken back."""
        client = self.connect("bl.test", "two.test")
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        client.vanish()
        self.assertEqual({f"{LISTED}.bl.test", f"{LISTED}.two.test"}, set(self.names.cancelled))
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_client_that_does_not_wait_for_a_list_of_domains(self) -> None:
        client = self.connect("@dbl.test")
        client.say("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
        client.vanish()
        self.assertEqual(["client.test.dbl.test"], self.names.cancelled)
        self.assertEqual([], self.flushLoggedErrors())

    def test_stop(self) -> None:
        client = self.connect("bl.test")
        [policy] = client.server.factory.policies
        self.successResultOf(Deferred.fromCoroutine(policy.stop()))  # type: ignore[attr-defined]  # it is ours
        self.assertEqual([f"{LISTED}.bl.test"], self.names.cancelled)


class DomainTests(PolicyTests):
    """Lists of domains."""

    def setUp(self) -> None:
        super().setUp()
        self.names = Names(
            {
                **self.names.records,
                "spam.example.dbl.test": [*a("127.0.1.2"), *txt("Spam")],
                "xn--bcher-kva.example.dbl.test": a("127.0.1.2"),
                "odd.example.dbl.test": a("127.0.1.255"),
            }
        )

    def from_hello(self, name: str, sender: str = "") -> str:
        client = self.server("@dbl.test").connect()
        client.read()
        client.say(f"EHLO {name}")
        return self.rcpt(client, sender)

    def test_sender(self) -> None:
        client = self.connect("@dbl.test")
        self.assertEqual(OK, self.code(client))
        self.assertEqual("554 5.7.1 spam.example is listed by dbl.test: Spam", self.rcpt(client, "x@SPAM.example"))
        self.assertEqual(OK, self.code(client, sender="x@odd.example"))
        self.assertEqual(OK, self.code(client, sender=""))

    def test_hello(self) -> None:
        self.assertEqual("554 5.7.1 spam.example is listed by dbl.test: Spam", self.from_hello("Spam.example"))
        self.assertEqual(OK, self.from_hello("odd.example", "a@ham.example")[:9])

    def test_internationalized(self) -> None:
        client = self.connect("@dbl.test")
        client.say("MAIL FROM:<x@bücher.example> SMTPUTF8")
        self.assertEqual([REFUSED], client.codes("RCPT TO:<b@mx.test>"))

    def test_listed_twice(self) -> None:
        """A list counts once."""
        self.options = {"threshold": 2}
        self.assertEqual(OK, self.from_hello("spam.example", "x@xn--bcher-kva.example")[:9])

    def test_no_domains(self) -> None:
        """Addresses, and names without a domain, are not looked up in a list of domains."""
        for name in ("[192.0.2.1]", "localhost", "[IPv6:2001:db8::1]", "192.0.2.1"):
            self.from_hello(name)
        client = self.connect("@dbl.test")
        self.rcpt(client, "x@[192.0.2.1]")
        self.assertEqual({"client.test.dbl.test"}, set(self.names.asked))

    def test_both_kinds(self) -> None:
        self.options = {"threshold": 2}
        client = self.connect("bl.test", "@dbl.test")
        self.assertEqual(OK, self.code(client))
        self.assertEqual(REFUSED, self.code(client, sender="x@spam.example"))


class TroubleTests(PolicyTests):
    """Lists that fail, or do not want to be asked. They do not keep the others from what they say."""

    def server(self, *lists: str, **settings: Any) -> Server:
        self.names.records[f"{LISTED}.broken.test"] = DNSServerError(dns.Message())
        self.names.records[f"{LISTED}.blocked.test"] = a("127.255.255.254")
        return super().server(*lists, "broken.test", "blocked.test*9", **settings)

    def trouble(self, clients: Iterable[Client]) -> list[str]:
        with logged("twistsmtp.policy") as events:
            for client in clients:
                self.assertEqual(OK, self.code(client))
        return [formatEvent(event) or "" for event in events]

    def test_no_harm(self) -> None:
        server = self.server("nothing.test")
        with logged("twistsmtp.policy") as events:
            self.assertEqual(OK, self.code(server.connect().hello()))
            self.assertEqual(OK, self.code(server.connect().hello()))
            server.clock.advance(3600)
            self.assertEqual(OK, self.code(server.connect().hello()))
        broken = (
            f"the DNS list broken.test does not answer, and counts as nothing: {LISTED}.broken.test: DNSServerError"
        )
        blocked = (
            "the DNS list blocked.test does not want to be asked by this server, and counts as nothing: "
            "it says 127.255.255.254"
        )
        self.assertEqual([broken, blocked] * 2, [formatEvent(event) for event in events])

    def test_deferring_on_failure_is_something_else(self) -> None:
        server = self.server("nothing.test")
        [policy] = server.factory.policies
        policy.on_failure = "defer"
        server.factory.renew(server.factory.limits, [policy])
        self.assertEqual(OK, self.code(server.connect().hello()))

    # These count what is asked or logged, of which there is more here.
    def test_not_listed(self) -> None:
        self.assertEqual(OK, self.code(self.connect("bl.test", peer="192.0.2.2")))

    def test_asked_once_a_session(self) -> None:
        self.assertEqual(REFUSED, self.code(self.connect("bl.test")))

    def test_log(self) -> None:
        self.assertEqual(REFUSED, self.code(self.connect("bl.test")))


class OptionsTests(SynchronousTestCase):
    """As the command line has it."""

    def test_options(self) -> None:
        policy = make_policy(
            "dnsbl:a.test*2:b.test=127.0.0.[2..4]*3,127.0.0.9:@c.test:threshold=4:timeout=2:server=127.0.0.1#5353"
            ":trusted=192.0.2.0/24, 2001\\:db8\\:\\:/32:on_failure=pass"
        )
        assert isinstance(policy, DNSBlockLists)
        zones = {each.zone: [each.weight for each in each.filters] for each in policy._of_addresses}
        self.assertEqual({"a.test": [2], "b.test": [3, 1]}, zones)
        self.assertEqual(["c.test"], [each.zone for each in policy._of_domains])
        self.assertEqual((4, "pass"), (policy._threshold, policy.on_failure))

    def test_wrong(self) -> None:
        for text, problem in (
            ("dnsbl", "it has no list"),
            ("dnsbl:a.test:treshold=2", "there is no option 'treshold'"),
            ("dnsbl:a.test:threshold=0", "threshold is a number from 1 on"),
            ("dnsbl:a.test:timeout=x", "timeout is a number of seconds"),
            ("dnsbl:a.test:server=ns.test", "a name server is an address"),
            ("dnsbl:a.test:trusted=x", "does not appear to be"),
            ("dnsbl:a", "'a' is no DNS list"),
        ):
            error = self.assertRaises(ValueError, make_policy, text)
            self.assertIn(problem, str(error))


class RealTests(TestCase):
    """Asked of a server on a socket."""

    timeout = 30

    async def test_refused(self) -> None:
        from twisted.internet import reactor

        zone = {f"{LISTED}.bl.test": [*a("127.0.0.2"), *txt("Listed")], "spam.example.bl.test": a("127.0.1.2")}
        port = serve_names(self, {"bl.test": zone})
        policy = make_policy(f"dnsbl:bl.test:@bl.test:server=127.0.0.1#{port}")
        self.addCleanup(lambda: Deferred.fromCoroutine(policy.stop()))  # type: ignore[attr-defined]  # it is ours
        server = Server(policies=[policy])
        for peer, sender, code in (
            ("192.0.2.1", "a@client.test", REFUSED),
            ("192.0.2.2", "a@client.test", OK),
            ("192.0.2.2", "a@spam.example", REFUSED),
        ):
            client = server.connect(peer).hello()
            client.say(f"MAIL FROM:<{sender}>")
            codes = client.codes("RCPT TO:<b@mx.test>")
            while not codes:
                tick: Deferred[None] = Deferred()
                reactor.callLater(0.005, tick.callback, None)
                await tick
                codes = client.codes()
            self.assertEqual([code], codes)

"""Mail that goes one way or another, by the recipient."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.branching import LATER, NEVER, Conversation, Told
from twistsmtp.delivery.api import Reply
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.delivery.route import Route
from twistsmtp.wire.grammar import Mailbox

OK = Reply(250, "2.0.0", "Mine")
A, B, C = "x@a.example", "x@b.example", "x@c.example"


class FindTests(SynchronousTestCase):
    """Which pattern counts."""

    def setUp(self) -> None:
        patterns = ("Example.org", "ada@example.org", "Ada+x@example.org", '@quoted"@'.strip('@"') + ".example")
        self.deliveries: dict[str, Any] = {
            each: Discard() for each in (*patterns, "bücher.example", "[192.0.2.1]", "*")
        }
        self.route = Route(self.deliveries)

    def find(self, local: str, domain: str, hostname: str = "mx.example") -> str:
        found = self.route.find(Mailbox(local, domain), hostname)
        [pattern] = [pattern for pattern, each in self.deliveries.items() if each is found]
        return pattern

    def test_most_exact(self) -> None:
        for local, domain, pattern in (
            ("bob", "example.org", "Example.org"),
            ("BOB", "EXAMPLE.ORG", "Example.org"),
            ("Ada", "example.org", "ada@example.org"),
            ("ada+lists", "example.org", "ada@example.org"),
            ("ada+x", "example.org", "Ada+x@example.org"),
            ("+ada", "example.org", "Example.org"),
            ("ada+", "example.org", "ada@example.org"),
            ("x", "xn--bcher-kva.example", "bücher.example"),
            ("x", "BÜCHER.example", "bücher.example"),
            ("x", "[192.0.2.1]", "[192.0.2.1]"),
            ("ada", "sub.example.org", "*"),
            ("postmaster", "", "*"),
        ):
            self.assertEqual(pattern, self.find(local, domain), (local, domain))
        self.assertEqual("Example.org", self.find("postmaster", "", hostname="Example.ORG"))

    @given(st.text(), st.text())
    def test_anybody(self, local: str, domain: str) -> None:
        """Whoever it is, there is a way."""
        self.assertIn(self.find(local, domain), self.deliveries)

    def test_nobody(self) -> None:
        self.assertIsNone(Route({"a.example": Discard()}).find(Mailbox("x", "b.example"), "mx.example"))
        default = Discard()
        self.assertIs(default, Route({"a.example": Discard()}, default).find(Mailbox("x", "b.example"), "mx.example"))
        self.assertIs(default, Route({}, default).find(Mailbox("x", "b.example"), "mx.example"))

    def test_wrong(self) -> None:
        here = Discard()
        for routes, default, problem in (
            ({}, None, "there is no delivery"),
            ({"a b": here}, None, "'a b' is not a domain, an address or *"),
            ({"": here}, None, "'' is not a domain"),
            ({"@a.example": here}, None, "'@a.example' is not a domain"),
            ({"a.example": here, "A.example": here}, None, "A.example is there twice"),
            ({"*": here}, Discard(), "* leaves nothing for a default"),
        ):
            error = self.assertRaises(ValueError, Route, routes, default)
            self.assertIn(problem, str(error))


class RouteCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.journal: list[str] = []
        self.told: dict[str, Told] = {}

    def talk(self, *, lmtp: bool = False, apart: bool = False, **deeds: Any) -> Conversation:
        """A server whose deliveries a, b and c are for a.example, b.example and c.example."""
        self.told = {name: Told(name, self.journal, **each) for name, each in deeds.items()}
        routes = {f"{name}.example": each for name, each in self.told.items()}
        return Conversation(Route(routes, apart=apart), lmtp=lmtp)

    def tearDown(self) -> None:
        self.assertEqual(dict.fromkeys(self.told, 0), {name: each.open for name, each in self.told.items()})

    def counts(self) -> dict[str, int]:
        return {name: len(each.messages) for name, each in self.told.items()}


class RouteTests(RouteCase):
    def test_each_its_own(self) -> None:
        """All have the octets, each for its recipients; whoever has none is not begun."""
        codes = self.talk(a={}, b={}, c={}).send(B, A, "y@b.example")
        self.assertEqual(["250", "250", "250", "354", "250"], codes)
        self.assertEqual(["b begin", "a begin", "b commit", "a commit"], self.journal)
        [(first, octets)], [(second, others)] = self.told["a"].messages, self.told["b"].messages
        self.assertEqual(([A], [B, "y@b.example"], octets), (first, second, others))
        self.assertIn(b"hello", octets)

    def test_apart(self) -> None:
        """A message goes to one delivery, and its verdict is that of its own recipients."""
        conversation = self.talk(a={}, b={"commit": LATER}, apart=True)
        codes = conversation.send(A, B, "y@a.example", "y@b.example")
        self.assertEqual(["250", "452", "250", "452", "354", "250"], codes)
        self.assertEqual(["250", "250", "354", "451"], conversation.send(B, "y@b.example"))
        self.assertEqual({"a": 1, "b": 0}, self.counts())
        self.assertEqual([A, "y@a.example"], self.told["a"].messages[0][0])

    def test_apart_of_whom_nobody_takes(self) -> None:
        codes = self.talk(a={"rcpt": NEVER}, b={}, apart=True).send(A, B)
        self.assertEqual(["550", "250", "354", "250"], codes)

    def test_over_lmtp_they_need_not_be_apart(self) -> None:
        codes = self.talk(a={}, b={"commit": LATER}, apart=True, lmtp=True).send(A, B)
        self.assertEqual(["250", "250", "354", "250", "451"], codes)

    def test_no_route(self) -> None:
        self.assertEqual(["550", "250", "354", "250"], self.talk(a={}).send("x@d.example", A))

    def test_one_delivery_twice(self) -> None:
        """It has the message once."""
        memory = Memory()
        conversation = Conversation(Route({"a.example": memory, "b.example": memory}))
        self.assertEqual("250", conversation.send(A, B)[-1])
        [message] = memory.messages
        self.assertEqual([A, B], [str(each) for each in message.envelope.recipients])

    def test_recipient_twice(self) -> None:
        codes = self.talk(a={"commit": lambda _: [OK, OK]}, b={}, lmtp=True).send(A, B, A)
        self.assertEqual(["250"] * 3, codes[-3:])
        self.assertEqual([A, A], self.told["a"].messages[0][0])

    def test_refused_recipients(self) -> None:
        """Which a delivery refuses, or for which it does not begin: the others go on."""
        for phase in ("begin", "rcpt"):
            codes = self.talk(a={phase: NEVER}, b={}).send(A, B)
            self.assertEqual(["550", "250", "354", "250"], codes)
            self.assertEqual({"a": 0, "b": 1}, self.counts())

    def test_refused(self) -> None:
        """Over SMTP what one refuses all refuse, and nothing is kept if the first does."""
        for phase in ("open", "write", "commit"):
            conversation = self.talk(a={phase: LATER}, b={})
            self.assertEqual("451", conversation.send(A, B)[-1])
            self.assertEqual({"a": 0, "b": 0}, self.counts())
        self.assertEqual("550", self.talk(a={}, b={"commit": NEVER}, c={}).send(A, B, C)[-1])
        self.assertEqual({"a": 1, "b": 0, "c": 0}, self.counts())

    def test_lmtp(self) -> None:
        """Each recipient has a verdict, in the order in which they came; a delivery that fails is alone with it."""
        for phase in ("open", "write", "commit"):
            for what, code in ((NEVER, "550"), (KeyError("hunter2"), "451")):
                codes = self.talk(a={phase: what}, b={}, c={}, lmtp=True).send(B, A, C, "y@a.example")
                self.assertEqual(["250", code, "250", code], codes[-4:], phase)
                self.assertEqual({"a": 0, "b": 1, "c": 1}, self.counts())
                self.assertEqual(isinstance(what, KeyError), bool(self.flushLoggedErrors(KeyError)))

    def test_lmtp_several(self) -> None:
        conversation = self.talk(
            a={"commit": lambda _: [OK, NEVER]}, b={"commit": LATER}, c={"commit": lambda _: OK}, lmtp=True
        )
        codes = conversation.send(B, A, C, "y@a.example")
        self.assertEqual(["451", "250", "250", "550"], codes[-4:])

    def test_lmtp_all_fail(self) -> None:
        conversation = self.talk(a={"write": NEVER}, b={"write": LATER}, lmtp=True)
        codes = conversation.send(A, B)
        self.assertTrue(all(code[0] in "45" for code in codes[-2:]), codes)
        self.assertEqual({"a": 0, "b": 0}, self.counts())

    def test_client_goes(self) -> None:
        pending: list[Any] = []

        def later(*args: object) -> Any:
            pending.append(Deferred())
            return pending[-1]

        for phase in ("begin", "rcpt", "open", "write", "commit"):
            for lmtp in (False, True):
                conversation = self.talk(a={}, b={phase: later}, lmtp=lmtp)
                conversation.say("MAIL FROM:<>", f"RCPT TO:<{A}>", f"RCPT TO:<{B}>", "DATA", "x", ".")
                conversation.leave()
                self.assertTrue(pending[-1].called)
                self.assertEqual({"a": 0, "b": 0}, {name: each.open for name, each in self.told.items()})
                self.assertEqual(0, self.counts()["b"])
        self.assertEqual([], self.flushLoggedErrors())

    def test_honours(self) -> None:
        self.assertEqual(Memory.honours, Route({"a.example": Memory(), "*": Memory()}).honours)
        self.assertEqual(frozenset(), Route({"a.example": Memory()}, Discard()).honours)

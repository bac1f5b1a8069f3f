"""ETRN: RFC 1985."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import portal
from tests.support import Client, Server
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions.etrn import Pending, QueueRequest, QueueRunner, Target
from twistsmtp.later import Later
from twistsmtp.security import Security
from twistsmtp.session import Session
from twistsmtp.wire.reply import Catalogue, Refusal


class Queue(Discard):
    """Has what it is told to have."""

    def __init__(self, answer: Later[Pending] | Exception) -> None:
        self.answer = answer
        self.requests: list[QueueRequest] = []

    def run_queue(self, session: Session, request: QueueRequest) -> Later[Pending]:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class EtrnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = Queue(Pending())

    def client(self, answer: Later[Pending] | Exception | None = None) -> Client:
        self.queue = Queue(Pending() if answer is None else answer)
        return Server(self.queue).connect().hello()

    def test_rfc1985_3_it_is_offered_where_there_is_a_queue(self) -> None:
        # Section 3.
        self.assertIsInstance(Queue(Pending()), QueueRunner)
        self.assertIn("\r\n250-ETRN\r\n", self.client().say("EHLO client.test")[0])
        client = Server(Memory()).connect().hello()
        self.assertNotIn("ETRN", client.say("EHLO client.test")[0])
        self.assertEqual(client.codes("ETRN node.test"), ["502 5.5.1"])

    def test_rfc1985_5_what_waits(self) -> None:
        # Section 5.
        for pending, reply in (
            (Pending(), "250 2.0.0 OK, queuing for node node.test started"),
            (Pending(0), "251 2.0.0 OK, no messages waiting for node node.test"),
            (Pending(some=True), "252 2.0.0 OK, pending messages for node node.test started"),
            (Pending(14), "253 2.0.0 OK, 14 pending messages for node node.test started"),
        ):
            self.assertEqual(self.client(pending).say("ETRN node.test"), [reply])

    def test_rfc1985_5_what_is_refused(self) -> None:
        # Section 5.
        request, replies = QueueRequest(Target.NODE, "node.test"), Catalogue()
        for refusal, reply in (
            (replies.queue_unable.fill(node=request), "458 4.3.0 Unable to queue messages for node node.test"),
            (
                replies.queue_not_allowed.fill(node=request, reason="authenticate first"),
                "459 4.7.1 Node node.test not allowed: authenticate first",
            ),
        ):
            self.assertEqual(self.client(Refusal(refusal)).say("ETRN node.test"), [reply])

    def test_rfc1985_an_answer_later(self) -> None:
        answer: Deferred[Pending] = Deferred()
        client = self.client(answer)
        self.assertEqual(client.say("ETRN node.test", "NOOP"), [])
        answer.callback(Pending(1))
        self.assertEqual([reply[:3] for reply in client.say()], ["253", "250"])

    def test_rfc1985_a_queue_that_fails(self) -> None:
        self.assertEqual(self.client(ZeroDivisionError()).codes("ETRN node.test"), ["451 4.3.0"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_rfc1985_5_what_is_asked_for(self) -> None:
        # Section 5.
        for text, request in (
            ("Node.test", QueueRequest(Target.NODE, "Node.test")),
            ("node", QueueRequest(Target.NODE, "node")),
            ("[192.0.2.1]", QueueRequest(Target.NODE, "[192.0.2.1]")),
            ("@node.test", QueueRequest(Target.SUBDOMAINS, "node.test")),
            ("#uucp:a{b}", QueueRequest(Target.QUEUE, "uucp:a{b}")),
            ("##", QueueRequest(Target.QUEUE, "#")),
        ):
            client = self.client()
            self.assertEqual(client.say(f"etrn  {text} "), [f"250 2.0.0 OK, queuing for node {text} started"])
            self.assertEqual(self.queue.requests, [request])
            self.assertEqual(str(request), text)

    def test_rfc1985_what_is_malformed(self) -> None:
        client = self.client()
        for text in (
            "",
            "@",
            "#",
            "a b",
            "a..b",
            "<a>",
            "@ a",
            "@[192.0.2.1]",
            "@#a",
            "# a",
            "#a b",
            "#ü",
            "ü.test",
            "#" + "a" * 256,
        ):
            self.assertEqual(client.codes(f"ETRN {text}"), ["501 5.5.4"], text)
        self.assertEqual(self.queue.requests, [])

    def test_rfc1985_5_not_in_a_transaction(self) -> None:
        # Section 5: 503.
        client = self.client().begin()
        self.assertEqual(client.say("ETRN node.test"), ["503 5.5.1 A transaction is open already; RSET ends it"])
        self.assertEqual(client.codes("RSET", "ETRN node.test"), ["250 2.0.0"] * 2)
        self.assertEqual(client.codes("MAIL FROM:<>", "ETRN node.test"), ["250 2.1.0", "503 5.5.1"])

    def test_rfc1985_not_before_the_greeting(self) -> None:
        client = Server(self.queue).connect()
        client.read()
        self.assertEqual(client.codes("ETRN node.test"), ["503 5.5.1"])

    def test_rfc1985_not_without_what_the_server_requires(self) -> None:
        client = Server(self.queue, security=Security(portal=portal(), require_auth=True)).connect().hello()
        self.assertEqual(client.codes("ETRN node.test"), ["530 5.7.0"])

    def test_rfc1985_it_moves_no_mail(self) -> None:
        client = self.client()
        replies = client.codes(*["ETRN node.test"] * 101)
        self.assertEqual(replies[-1], "421 4.7.0")

"""Policies: asked in each phase about what it is about, and free to refuse there."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import AT_ONCE, LATER, Answer, Script, ScriptedPolicy
from tests.support import Server, split_replies
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.session import Phase, Session
from twistsmtp.wire.reply import Refusal, Reply

NO = Refusal(Reply(554, "5.7.1", "No"))
DIALOGUE = b"EHLO client.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"


class Notes(Policy):
    """Notes what it is asked, and leaves a note for others."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    def _note(self, session: Session, phase: str, subject: object) -> None:
        session.annotations[phase] = subject
        self.notes.append((phase, str(subject)))

    def connect(self, session: Session) -> None:
        self._note(session, "connect", session.client)

    def hello(self, session: Session, name: str) -> None:
        self._note(session, "hello", name)

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        self._note(session, "mail", reverse_path)

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        self._note(session, "rcpt", recipient)

    def data(self, session: Session, envelope: Envelope) -> None:
        self._note(session, "data", len(envelope.recipients))

    def message(self, session: Session, envelope: Envelope) -> None:
        self._note(session, "message", len(envelope.recipients))


class PhaseTests(SynchronousTestCase):
    def test_each_phase_is_asked_about_what_it_is_about(self) -> None:
        policy = Notes()
        client = Server(policies=[policy]).connect()
        client.send(DIALOGUE + b"text\r\n.\r\nQUIT\r\n")
        self.assertEqual(
            policy.notes,
            [
                ("connect", "192.0.2.1"),
                ("hello", "client.test"),
                ("mail", "a@b"),
                ("rcpt", "c@d"),
                ("data", "1"),
                ("message", "1"),
            ],
        )
        self.assertEqual(client.session.annotations["hello"], "client.test")

    def test_a_refusal_of_each_phase_is_what_the_client_reads(self) -> None:
        # What was said before it, and what then becomes of the connection.
        for phase, before in (("hello", 1), ("mail", 2), ("rcpt", 3), ("data", 4)):
            for how in (*AT_ONCE, *LATER):
                script = Script(**{f"policy_{phase}": [Answer(how, NO)]})
                client = Server.scripted(script).connect()
                said = client.send(DIALOGUE)
                script.release_all()
                replies = split_replies(said + client.read())
                self.assertEqual(replies[before], "554 5.7.1 No", (phase, how))
                self.assertFalse(client.closed)
                self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_refusal_to_greet_is_the_only_word(self) -> None:
        for how in (*AT_ONCE, *LATER):
            script = Script(policy_connect=Answer(how, NO))
            client = Server(policies=[ScriptedPolicy(script)]).connect()
            client.send(DIALOGUE)
            script.release_all()
            self.assertEqual(b"".join(client.wire.writes), b"554 5.7.1 No\r\n", how)
            self.assertTrue(client.closed)

    def test_what_a_greeting_may_be(self) -> None:
        """RFC 5321 section 4.3.2: 220, 554, or 421 at any time."""
        for code, enhanced, said in (
            (550, "5.7.1", b"554 5.7.1 No\r\n"),
            (554, "5.7.1", b"554 5.7.1 No\r\n"),
            (450, "4.7.1", b"421 4.7.1 No\r\n"),
            (421, "4.7.0", b"421 4.7.0 No\r\n"),
        ):
            for how in (*AT_ONCE, *LATER):
                script = Script(policy_connect=Answer(how, Refusal(Reply(code, enhanced, "No"))))
                client = Server(policies=[ScriptedPolicy(script)]).connect()
                script.release_all()
                self.assertEqual(b"".join(client.wire.writes), said, how)
                self.assertTrue(client.closed)

    def test_the_first_that_refuses_ends_it(self) -> None:
        scripts = [Script(), Script(policy_mail=Answer(result=NO)), Script()]
        client = Server(policies=[ScriptedPolicy(each) for each in scripts]).connect().hello()
        client.say("MAIL FROM:<>")
        self.assertEqual([each.calls.count("policy_mail") for each in scripts], [1, 1, 0])

    def test_a_phase_that_nobody_cares_for_costs_nothing(self) -> None:
        class Careless(Policy):
            def rcpt(self, session: Session, recipient: Recipient) -> None:
                raise NO

        server = Server(policies=[Careless(), Careless()])
        self.assertEqual({phase: len(checks) for phase, checks in server.factory.checks.items()}, {Phase.RCPT: 2})

    def test_a_policy_that_is_no_subclass(self) -> None:
        class Duck:
            def mail(self, session: Session, reverse_path: ReversePath) -> None:
                raise NO

        self.assertEqual(Server(policies=[Duck()]).connect().hello().codes("MAIL FROM:<>"), ["554 5.7.1"])

    def test_what_is_none(self) -> None:
        """It is told at once: nobody would see that it refuses nobody."""
        wrong: dict[Any, str] = {"helo": "'helo' is no policy: it has no connect, hello", Notes: "Notes is a class"}
        for each, text in wrong.items():
            with self.assertRaises(TypeError) as caught:
                SMTPFactory(Memory(), policies=[each])
            self.assertIn(text, str(caught.exception))

    def test_an_answer_that_is_not_none_is_a_failure(self) -> None:
        """A refusal that was returned must not let anything pass, now or later, and whatever becomes of failures."""

        class Returns(Policy):
            answer: Any = None

            def mail(self, session: Session, reverse_path: ReversePath) -> Any:
                return self.answer(NO.reply)

        async def later(reply: Reply) -> Reply:
            return reply

        waiting: list[Deferred[Reply]] = []

        def much_later(_: Reply) -> Deferred[Reply]:
            waiting.append(Deferred())
            return waiting[-1]

        for answer in (lambda reply: reply, later, succeed, much_later):
            for on_failure in ("defer", "pass"):
                policy: Any = Returns()
                policy.answer, policy.on_failure = answer, on_failure
                client = Server(policies=[policy]).connect().hello()
                codes = client.codes("MAIL FROM:<>")
                while waiting:
                    waiting.pop().callback(NO.reply)
                self.assertEqual((codes or client.codes()), ["451 4.3.0"], (answer, on_failure))
                [failure] = self.flushLoggedErrors(TypeError)
                self.assertIn("a policy refuses by raising Refusal", str(failure.value))

    def test_annotations_belong_to_one_connection(self) -> None:
        server = Server(policies=[Notes()])
        one, two = server.connect(), server.connect()
        one.say("EHLO one.test")
        self.assertNotIn("hello", two.session.annotations)

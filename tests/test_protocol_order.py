"""One command at a time, replies in order, and exceptions that stay with us: whoever answers, and whenever."""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import AT_ONCE, LATER, Answer, How, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import Client, Server, cuts, logged, split_replies
from twistsmtp.limits import Limits
from twistsmtp.session import Session
from twistsmtp.verb import Extension, Verb
from twistsmtp.wire.reply import Catalogue, Refusal, Reply

EVERY_WAY = (*AT_ONCE, *LATER)
NO = Refusal(Reply(550, "5.7.1", "No"))
OK = Reply(250, "2.0.0", "OK")
#: So that replies do not depend on the ids of sessions.
REPLIES = replace(Catalogue(), accepted=OK)


class Oops(Exception):
    """What nobody meant to raise."""


_TRANSACTION = [b"EHLO client.test", b"MAIL FROM:<a@client.test>", b"RCPT TO:<b@mx.test>", b"DATA"]
_COMMANDS = [
    *_TRANSACTION,
    b"HELO client.test",
    b"EHLO",
    b"MAIL FROM:<> SIZE=5",
    b"MAIL FROM:<> X",
    b"RCPT TO:<c@mx.test>",
    b"RCPT TO:<>",
    b"DATA x",
    b"RSET",
    b"NOOP",
    b"VRFY x",
    b"HELP",
    b"XYZ",
    b"NOOP\nRSET",
    b"NOOP " + b"x" * 600,
    b"",
]
_STEPS = ("begin", "rcpt", "open", "commit", "policy_mail", "policy_rcpt", "policy_data", "policy_message")
_BODIES = [b"", b"text\r\n", b"..\r\n"]
#: Each is refused, and for the same reason wherever it is cut.
_BAD_BODIES = [b"a\nb\r\n", b"a\r\nQUIT\r\n\nQUIT\r\n", b"Received: x\r\n" * 3, b"x" * 30 + b"\r\n"]

ways = st.lists(st.sampled_from(How), min_size=1, max_size=7)
results = st.lists(st.sampled_from([None, None, None, NO, Oops("?")]), min_size=1, max_size=3)


@dataclass(frozen=True)
class Dialogue:
    """What a client means to say, and what the steps come to that it makes the server take."""

    groups: list[list[bytes]]
    bodies: list[bytes]
    say_goodbye: bool
    results: dict[str, list[Exception | None]]
    write: Exception | None

    @property
    def commands(self) -> list[bytes]:
        return [line for group in self.groups for line in group] + [b"QUIT"] * self.say_goodbye

    def script(self, hows: list[How]) -> Script:
        """The results of this dialogue, come to in these ways."""
        answers: dict[str, Any] = {
            step: [Answer(hows[n % len(hows)], result) for n, result in enumerate(each)]
            for step, each in self.results.items()
        }
        if self.write is not None:
            answers["write"] = Answer(hows[-1], self.write)
        return Script(*hows, **answers)


def dialogues(bodies: list[bytes], write: Exception | None) -> st.SearchStrategy[Dialogue]:
    return st.builds(
        Dialogue,
        groups=st.lists(st.sampled_from(_COMMANDS).map(lambda line: [line]) | st.just(_TRANSACTION), max_size=8),
        bodies=st.lists(st.sampled_from(bodies), min_size=1, max_size=3),
        say_goodbye=st.booleans(),
        results=st.dictionaries(st.sampled_from(_STEPS), results, max_size=4),
        write=st.just(write),
    )


class OrderTests(SynchronousTestCase):
    """Pipelined or not, cut anywhere, answered at once or later: the same replies in the same order."""

    LIMITS = Limits(message_size=20, hops=2, message_line=25, errors=12)

    def server(self, script: Script) -> Server:
        return Server.scripted(script, replies=REPLIES, limits=self.LIMITS)

    def one_at_a_time(self, dialogue: Dialogue) -> tuple[Client, bytes]:
        """A client that waits for each reply, and all that it sent."""
        client = self.server(dialogue.script([How.PLAIN])).connect()
        sent = b""
        for number, command in enumerate(dialogue.commands):
            octets = command + b"\r\n"
            sent += octets
            if client.send(octets).startswith(b"354"):
                octets = dialogue.bodies[number % len(dialogue.bodies)] + b".\r\n"
                sent += octets
                client.send(octets)
            if client.closed:
                break
        return client, sent

    @given(
        dialogues(_BODIES + _BAD_BODIES, None) | dialogues(_BODIES, NO),
        ways,
        st.lists(st.integers(0, 3000), max_size=8),
        st.lists(st.booleans(), min_size=1, max_size=5),
    )
    def test_as_one_at_a_time(
        self, dialogue: Dialogue, hows: list[How], positions: list[int], releases: list[bool]
    ) -> None:
        self.flushLoggedErrors()
        expected, sent = self.one_at_a_time(dialogue)
        errors = len(self.flushLoggedErrors(Oops))

        script = dialogue.script(hows)
        client = self.server(script).connect()
        for number, piece in enumerate(cuts(sent, positions)):
            client.send(piece)
            if releases[number % len(releases)] and script.waiting:
                script.release()
        if sent.endswith(b"QUIT\r\n"):
            client.finish_sending()
        script.release_all()

        self.assertEqual(script.overlaps, [])
        self.assertEqual(b"".join(client.wire.writes), b"".join(expected.wire.writes))
        self.assertEqual(client.closed, expected.closed)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), errors)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(client.session.counts, expected.session.counts)
        endings = self.endings(client)
        self.assertEqual(endings, self.endings(expected))
        for commits, aborts, _ in endings:
            self.assertEqual(commits + aborts, 1)

    def endings(self, client: Client) -> list[tuple[int, int, bytes]]:
        """What became of each transaction, when the connection is gone."""
        client.vanish()
        return [(each.commits, each.aborts, each.body * each.commits) for each in client.server.delivery.transactions]

    def test_one_step_at_a_time(self) -> None:
        stream = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\ntext\r\n.\r\nQUIT\r\n"
        for how in LATER:
            for position in range(len(stream)):
                script = Script(how)
                client = self.server(script).connect()
                for piece in cuts(stream, [position]):
                    client.send(piece)
                    if script.waiting:
                        script.release()
                script.release_all()
                self.assertEqual(script.overlaps, [], (how, position))
                self.assertTrue(client.closed)
                self.assertEqual(client.server.delivery.bodies, [b"text\r\n"])


class ExceptionTests(SynchronousTestCase):
    """Any exception in a delivery or policy: a traceback with the session's id for us, a fixed text for the client."""

    TEXT = "451 4.3.0 Requested action aborted: local error in processing"

    def test_in_every_step_in_every_way(self) -> None:
        dialogue = b"EHLO client.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\ntext\r\n.\r\n"
        for step, replies_before in (
            ("policy_hello", 1),
            ("policy_mail", 2),
            ("begin", 2),
            ("policy_rcpt", 3),
            ("rcpt", 3),
            ("policy_data", 4),
            ("open", 4),
            ("write", 5),
            ("policy_message", 5),
            ("commit", 5),
        ):
            for how in EVERY_WAY:
                script = Script(**{step: [Answer(how, Oops("a secret"))]})
                server = Server.scripted(script)
                client = server.connect()
                with logged("twistsmtp.connection") as events:
                    said = client.send(dialogue)
                    script.release_all()
                    said += client.read()
                replies = split_replies(said)
                self.assertEqual(replies[replies_before], self.TEXT, (step, how))
                self.assertNotIn(b"secret", said)
                [event] = events
                self.assertEqual(event["id"], client.session.id)
                self.assertIn(client.session.id, event["log_format"].format(**event))
                self.assertIn("Oops: a secret", event["log_failure"].getTraceback())
                self.assertEqual(len(self.flushLoggedErrors(Oops)), 1, (step, how))
                # The connection lives on, and the next transaction works.
                self.assertFalse(client.closed)
                client.say("RSET")
                self.assertEqual([reply[:3] for reply in client.hello().message()], ["250"], (step, how))

    def test_in_the_first_phase(self) -> None:
        for how in EVERY_WAY:
            script = Script(policy_connect=Answer(how, Oops("a secret")))
            client = Server(policies=[ScriptedPolicy(script)]).connect()
            script.release_all()
            self.assertEqual(split_replies(client.read()), [self.TEXT.replace("451", "421")])
            self.assertTrue(client.closed)
            self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def own_verb(self, run: Any, **more: Any) -> Client:
        """A client of a server that has the verb XOWN."""
        values: dict[str, Any] = {"parse": lambda session, argument: argument, "run": run, **more}
        verb: Verb[Any] = Verb(name="XOWN", syntax="XOWN", help="", **values)
        client = Server(extensions=[Extension(name="own", rfc="none", keyword="XOWN", verbs=(verb,))]).connect()
        client.read()
        return client

    def test_in_a_parser(self) -> None:
        def parse(session: Session, argument: str) -> str:
            raise Oops

        client = self.own_verb(lambda session, argument: OK, parse=parse)
        self.assertEqual(client.codes("XOWN", "NOOP"), ["451", "250"])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_a_verb_that_answers_with_nonsense(self) -> None:
        for nonsense in (None, 250, "250 OK", object()):
            client = self.own_verb(lambda session, argument, answer=nonsense: answer)
            self.assertEqual(client.codes("XOWN", "NOOP"), ["451", "250"])
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_every_reply_of_the_catalogue_may_be_a_refusal(self) -> None:
        # Whatever a delivery thinks fits, in whichever step.
        replies = Catalogue()
        for name in Catalogue.__slots__:
            reply = getattr(replies, name)
            if reply.code < 400:
                continue
            for step in ("begin", "rcpt", "open", "write", "commit"):
                script = Script(**{step: Answer(result=Refusal(reply))})
                client = Server.scripted(script, replies=replies).connect()
                client.send(b"EHLO client.test\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\ntext\r\n.\r\nNOOP\r\n")
                said = b"".join(client.wire.writes)
                self.assertIn(reply.octets, said, (name, step))
                self.assertEqual(client.closed, reply.code == 421, (name, step))
                self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_refusal_is_no_error(self) -> None:
        for how in EVERY_WAY:
            script = Script(begin=Answer(how, NO))
            client = Server(ScriptedDelivery(script)).connect().hello()
            client.say("MAIL FROM:<>")
            script.release_all()
            self.assertEqual(self.flushLoggedErrors(), [])

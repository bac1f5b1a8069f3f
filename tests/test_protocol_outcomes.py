"""What a verb may answer with, and what the protocol makes of it."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.scripted import AT_ONCE, LATER, STEPS, Answer, How, Script, ScriptedDelivery, ScriptedPolicy
from tests.support import CONVERSATION, Client, Server, cuts, split_replies
from twistsmtp.extensions import load_extensions
from twistsmtp.later import Later
from twistsmtp.session import Phase, Stage
from twistsmtp.verb import Ask, Close, Extension, Outcome, Verb
from twistsmtp.wire.grammar import GrammarError
from twistsmtp.wire.reply import Refusal, Reply

EVERY_WAY = (*AT_ONCE, *LATER)
NO = Refusal(Reply(550, "5.7.1", "No"))
OK = Reply(250, "2.0.0", "OK")


class Oops(Exception):
    """What nobody meant to raise."""


def connected(**settings: Any) -> Client:
    client = Server(**settings).connect()
    client.read()
    return client


def own_verb(run: Any, **more: Any) -> Extension:
    """An extension with one verb, XOWN, which does what is to be tested."""
    values: dict[str, Any] = {"parse": lambda session, argument: argument, "run": run, **more}
    verb: Verb[Any] = Verb(name="XOWN", syntax="XOWN", help="", **values)
    return Extension(name="own", rfc="none", keyword="XOWN", verbs=(verb,))


class VerbTests(SynchronousTestCase):
    """What a verb may answer with, whichever way it answers."""

    def run_own(self, answer: object, how: How = How.PLAIN, **more: Any) -> Client:
        script = Script(run=Answer(how, answer))
        extension = own_verb(lambda session, argument: script.play("run", lambda: OK), **more)
        client = connected(delivery=ScriptedDelivery(script), extensions=[*load_extensions(), extension])
        client.protocol.session.hello("client.test", esmtp=True)
        return client

    def released(self, client: Client, octets: bytes) -> list[str]:
        said = client.send(octets)
        client.server.delivery.script.release_all()
        return [reply[:9].strip() for reply in split_replies(said + client.read())]

    def test_a_reply(self) -> None:
        for how in EVERY_WAY:
            client = self.run_own(Reply(259, "2.9.9", "Own"), how)
            self.assertEqual(self.released(client, b"XOWN\r\nNOOP\r\n"), ["259 2.9.9", "250 2.0.0"])

    def test_a_refusal_or_an_error_of_the_grammar(self) -> None:
        for how in EVERY_WAY:
            for error, code in ((NO, "550 5.7.1"), (GrammarError("x", 501, "5.5.4", "No"), "501 5.5.4")):
                self.assertEqual(self.released(self.run_own(error, how), b"XOWN\r\nNOOP\r\n"), [code, "250 2.0.0"])

    def test_a_refusal_by_421_ends_the_connection(self) -> None:
        # RFC 5321 section 4.2.2: "closing transmission channel", whoever says so, and wherever.
        down = Refusal(Reply(421, "4.3.2", "Going down"))
        for step in STEPS[1:]:
            for how in EVERY_WAY:
                script = Script(**{step: [Answer(how, down)]})
                client = Server.scripted(script).connect()
                client.send(CONVERSATION)
                script.release_all()
                replies = split_replies(b"".join(client.wire.writes))
                self.assertEqual(replies[-1], "421 4.3.2 Going down", (step, how))
                self.assertTrue(client.closed)

    def test_close(self) -> None:
        for how in EVERY_WAY:
            client = self.run_own(Close(Reply(421, "4.3.0", "Enough")), how)
            self.assertEqual(self.released(client, b"NOOP\r\nXOWN\r\nNOOP\r\n"), ["250 2.0.0", "421 4.3.0"])
            self.assertTrue(client.closed)

    def test_ask(self) -> None:
        heard: list[bytes | None] = []

        def answer(line: bytes | None) -> Later[Outcome]:
            heard.append(line)
            return Ask(Reply(334, "", "More"), answer) if len(heard) < 3 else OK

        for how in EVERY_WAY:
            del heard[:]
            client = self.run_own(Ask(Reply(334, "", "First"), answer), how)
            lines = [b"one\nand \xff\0", b"", b"QUIT"]
            expected = ["334 First", "334 More", "334 More", "250 2.0.0", "250 2.0.0"]
            self.assertEqual(self.released(client, b"XOWN\r\n" + b"\r\n".join(lines) + b"\r\nNOOP\r\n"), expected)
            self.assertEqual(heard, lines)

    def test_what_was_said_already_is_not_said_again(self) -> None:
        client = self.run_own(Ask(None, lambda line: OK))
        self.assertEqual(client.codes("XOWN", "an answer", "MAIL FROM:<>"), ["250 2.0.0", "250 2.1.0"])

    def test_an_answer_may_refuse_or_fail(self) -> None:
        def refuse(line: bytes | None) -> Outcome:
            raise NO

        def fail(line: bytes | None) -> Outcome:
            raise Oops

        for answer, code in ((refuse, "550 5.7.1"), (fail, "451 4.3.0")):
            client = self.run_own(Ask(Reply(334, "", "Say"), answer))
            self.assertEqual(client.codes("XOWN", "MAIL FROM:<>", "MAIL FROM:<>"), ["334", code, "250 2.1.0"])
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

    def test_an_answer_that_is_too_long_ends_the_question(self) -> None:
        # The line was the answer, and it was bad: the next one is a command again.
        heard: list[int | None] = []

        def answer(line: bytes | None) -> Outcome:
            heard.append(None if line is None else len(line))
            return OK if line is not None else Reply(500, "5.5.6", "Too long")

        client = self.run_own(Ask(Reply(334, "", "Say"), answer, 100))
        for length, code in ((98, "250 2.0.0"), (99, "500 5.5.6"), (1000, "500 5.5.6"), (100_000, "500 5.5.6")):
            client.say("RSET")
            self.assertEqual(client.codes("XOWN", "x" * length, "MAIL FROM:<>"), ["334", code, "250 2.1.0"])
        self.assertEqual(heard, [98, None, None, None])

    def test_what_is_legal_and_when(self) -> None:
        client = self.run_own(OK, stages=Stage.MAIL)
        commands = ["XOWN", "MAIL FROM:<>", "XOWN", "RCPT TO:<b@mx.test>", "XOWN"]
        self.assertEqual(client.codes(*commands), ["503 5.5.1", "250 2.1.0", "250 2.0.0", "250 2.1.5", "503 5.5.1"])

    def test_a_phase_of_policies_before_it(self) -> None:
        script = Script(policy_hello=Answer(How.DEFERRED, NO))
        extension = own_verb(lambda session, argument: OK, phase=Phase.HELLO)
        client = connected(extensions=[extension], policies=[ScriptedPolicy(script)])
        client.say("XOWN", "NOOP")
        script.release()
        self.assertEqual(client.codes(), ["550", "250"])


class Taking:
    """An intake of so many octets, as a chunk of RFC 3030."""

    def __init__(self, count: int, reply: Reply | None = None, wait: "Deferred[None] | None" = None) -> None:
        self.reply = reply
        self.waiting: Deferred[None] | None = None
        self.taken = b""
        self._left = count
        self._wait = wait

    def feed(self, data: bytes, start: int) -> int:
        octets = data[start : start + self._left]
        self.taken += octets
        self._left -= len(octets)
        self.waiting, self._wait = self._wait, None
        return -1 if self._left else start + len(octets)

    def end(self) -> Later[Outcome]:
        return Reply(250, "2.0.0", f"{len(self.taken)} octets")


class IntakeTests(SynchronousTestCase):
    """Octets that are no commands, for an extension as well as for DATA."""

    def client(self, *intakes: Any) -> Client:
        left = list(intakes)
        return connected(extensions=[own_verb(lambda session, argument: left.pop(0))])

    def test_so_many_octets(self) -> None:
        stream = b"XOWN\r\nQUIT\r\n\r\n\n\0NOOP\r\n"
        for position in range(len(stream)):
            intake = Taking(10)
            client = self.client(intake)
            said = b"".join(map(client.send, cuts(stream, [position])))
            self.assertEqual(split_replies(said), ["250 10 octets", "250 OK"], position)
            self.assertEqual(intake.taken, b"QUIT\r\n\r\n\n\0")

    def test_with_a_word_before_it(self) -> None:
        self.assertEqual(self.client(Taking(3, Reply(354, "", "Go"))).say("XOWN", "x"), ["354 Go", "250 3 octets"])

    def test_one_after_the_other(self) -> None:
        client = self.client(Taking(3), Taking(2), Taking(1))
        said = client.send(b"XOWN\r\nabcXOWN\r\ndeXOWN\r\nfNOOP\r\n")
        self.assertEqual(split_replies(said), ["250 3 octets", "250 2 octets", "250 1 octets", "250 OK"])

    def test_one_that_takes_its_time(self) -> None:
        for size in (3, 6):
            wait: Deferred[None] = Deferred()
            intake = Taking(size, wait=wait)
            client = self.client(intake)
            self.assertEqual(client.send(b"XOWN\r\nabc"), b"")
            self.assertEqual(client.send(b"NOOP\r\nNOOP\r\n"), b"")
            self.assertEqual(intake.taken, b"abc")
            wait.callback(None)
            self.assertEqual(split_replies(client.read())[0], f"250 {size} octets")

    def test_one_whose_work_is_done_at_once(self) -> None:
        class Done(Taking):
            def feed(self, data: bytes, start: int) -> int:
                self._wait = succeed(None)
                return super().feed(data, start)

        stream = b"XOWN\r\nQUIT\r\n\r\n\n\0NOOP\r\nNOOP\r\n"
        for position in range(len(stream)):
            intake = Done(10)
            client = self.client(intake)
            said = b"".join(map(client.send, cuts(stream, [position])))
            self.assertEqual(split_replies(said), ["250 10 octets", "250 OK", "250 OK"], position)
            self.assertEqual(intake.taken, b"QUIT\r\n\r\n\n\0")

    def test_one_that_fails(self) -> None:
        # Where it would have ended nobody knows, so what follows cannot be commands.
        class Failing(Taking):
            def feed(self, data: bytes, start: int) -> int:
                raise Oops

        client = self.client(Failing(10))
        self.assertEqual(client.codes("XOWN", "QUIT", "NOOP"), ["451"])
        self.assertTrue(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(Oops)), 1)

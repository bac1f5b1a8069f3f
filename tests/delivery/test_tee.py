"""Mail for several deliveries at once."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.branching import LATER, NEVER, Conversation, Told
from tests.delivery.kit import new_session
from twistsmtp.delivery.api import Delivery, Expander, Refusal, Reply, Verifier
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.delivery.tee import Tee
from twistsmtp.wire.reply import Catalogue

JOE, SUE = "joe@two.example", "sue@two.example"
OK = Reply(250, "2.0.0", "Mine")


class TeeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.journal: list[str] = []
        self.told: list[Told] = []

    def new(self, *deeds: dict[str, object], **settings: Any) -> Tee:
        """Deliveries a, b and so on, that do what they are told."""
        self.told = [Told(name, self.journal, **each) for name, each in zip("abc", deeds, strict=False)]
        return Tee(self.told, **settings)

    def talk(self, *deeds: dict[str, object], lmtp: bool = False, **settings: Any) -> Conversation:
        return Conversation(self.new(*deeds, **settings), lmtp=lmtp)

    def tearDown(self) -> None:
        self.assertEqual([0] * len(self.told), [each.open for each in self.told], self.journal)

    def counts(self) -> list[int]:
        return [len(each.messages) for each in self.told]


class TakenTests(TeeCase):
    def test_all_have_it(self) -> None:
        """In their order, and octet for octet."""
        codes = self.talk({}, {}, {}).send(JOE, SUE)
        self.assertEqual(["250", "250", "354", "250"], codes)
        self.assertEqual(["a begin", "b begin", "c begin", "a commit", "b commit", "c commit"], self.journal)
        [first, second, third] = [each.messages for each in self.told]
        self.assertEqual((first, first), (second, third))
        [(recipients, octets)] = first
        self.assertEqual([JOE, SUE], recipients)
        self.assertTrue(octets.startswith(b"Received: from client"))
        self.assertTrue(octets.endswith(b"\r\nSubject: x\r\n\r\nhello\r\n"))

    def test_received_for_some(self) -> None:
        """Who wants no Received field gets none, be the message empty or not."""
        for body in ((), ("", "x")):
            conversation = self.talk({}, {})
            tee: Any = conversation.factory.delivery
            self.told[1].wants_received = False
            tee.__init__(self.told)
            self.assertEqual("250", conversation.send(JOE, body=body)[-1])
            plain = "".join(f"{line}\r\n" for line in body).encode()
            self.assertEqual(plain, self.told[1].messages[0][1])
            field = self.told[0].messages[0][1].removesuffix(plain)
            self.assertRegex(field, rb"^Received: from client[^$]*for <joe@two.example>; .*\r\n$")
            self.assertEqual(1, field.count(b"Received"))

    def test_slowest(self) -> None:
        """Nobody writes more before the last has written; who is done at once is not waited for."""
        waiting: list[Deferred[None]] = [Deferred(), Deferred()]
        conversation = self.talk({"write": lambda _: waiting[0]}, {}, {"write": lambda _: waiting[1]})
        conversation.say("MAIL FROM:<>", f"RCPT TO:<{JOE}>", "DATA", "x", ".")
        waiting[1].callback(None)
        self.assertEqual([0, 0, 0], self.counts())
        waiting[0].callback(None)
        self.assertEqual(["250"], conversation.hear())
        self.assertEqual([1, 1, 1], self.counts())

    def test_later(self) -> None:
        """Whatever answers later is waited for, one after the other."""
        for phase in ("begin", "rcpt", "open", "commit"):
            answers: list[Deferred[None]] = []

            def later(*args: object, answers: list[Deferred[None]] = answers) -> Deferred[None]:
                answers.append(Deferred())
                return answers[-1]

            conversation = self.talk({phase: later}, {phase: later})
            conversation.say("MAIL FROM:<>", f"RCPT TO:<{JOE}>", "DATA", "x", ".")
            for count in (1, 2):
                self.assertEqual(count, len(answers), phase)
                answers[-1].callback(None)
            codes = conversation.hear() or conversation.say("NOOP")
            self.assertEqual([1, 1], self.counts(), (phase, codes))

    def test_replies(self) -> None:
        """The server's own 250 if all leave it to it; else what one says."""
        for commit, code in ((None, "250"), (OK, "250"), ([OK, OK], "250")):
            self.assertEqual(code, self.talk({"commit": commit}, {}).send(JOE, SUE)[-1])


class RefusedTests(TeeCase):
    def test_phases(self) -> None:
        """Who refuses first is heard, and the others are aborted."""
        for phase, codes in {
            "begin": ["503", "503"],
            "rcpt": ["550", "554"],
            "open": ["250", "550"],
            "write": ["250", "354", "550"],
            "commit": ["250", "354", "550"],
        }.items():
            refusing: dict[str, object] = {phase: NEVER}
            choices: list[list[dict[str, object]]] = [[refusing, {}], [{}, refusing, {}]]
            for deeds in choices:
                conversation = self.talk(*deeds)
                self.assertEqual(codes, conversation.send(JOE), phase)
                conversation.leave()
                kept = [1, 0, 0] if phase == "commit" and len(deeds) == 3 else [0] * len(deeds)
                self.assertEqual(kept, self.counts())
                self.assertEqual([0] * len(deeds), [each.open for each in self.told])

    def test_fails(self) -> None:
        """Any other error is logged, and 451."""
        for phase in ("begin", "rcpt", "open", "write", "commit"):
            conversation = self.talk({}, {phase: KeyError("hunter2")})
            self.assertIn("451", conversation.say("MAIL FROM:<>", f"RCPT TO:<{JOE}>", "DATA", "x", "."), phase)
            conversation.leave()
            self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
            self.assertEqual([int(phase == "commit"), 0], self.counts())

    def test_later_one_refuses(self) -> None:
        """What was committed is; the client hears the refusal, as it is."""
        for reply in (LATER, NEVER):
            codes = self.talk({}, {"commit": reply}, {}).send(JOE)
            self.assertEqual(str(reply.code), codes[-1])
            self.assertEqual([1, 0, 0], self.counts())

    def test_answered(self) -> None:
        """A refusal that is not raised is one as well; over SMTP also for one recipient of two."""
        for answer in (NEVER, [OK, NEVER], [NEVER, LATER]):
            told = self.new({"commit": lambda _, answer=answer: answer}, {})
            code = str((answer if isinstance(answer, Reply) else answer[1]).code)
            self.assertEqual(code, Conversation(told).send(JOE, SUE)[-1])
            self.assertEqual([1, 0], self.counts())

    def test_wrong_number_of_replies(self) -> None:
        self.assertEqual("451", self.talk({"commit": [OK]}, {}).send(JOE, SUE)[-1])
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_recipient(self) -> None:
        """Whom one refuses none of them delivers to: who had taken them begins anew."""

        def only_joe(address: str) -> None:
            if address != JOE:
                raise Refusal(NEVER)

        codes = self.talk({}, {"rcpt": only_joe}).send(JOE, SUE, JOE)
        self.assertEqual(["250", "550", "250", "354", "250"], codes)
        self.assertEqual([[JOE, JOE]] * 2, [each.messages[0][0] for each in self.told])
        self.assertEqual(2, self.journal.count("a begin"))
        self.assertEqual(1, self.journal.count("b begin"))

    def test_recipient_twice(self) -> None:
        """Taken once and then refused: who took it twice has it once."""
        seen: list[str] = []

        def once(address: str) -> None:
            seen.append(address)
            if len(seen) == 2:
                raise Refusal(LATER)

        codes = self.talk({}, {"rcpt": once}).send(JOE, JOE)
        self.assertEqual(["250", "451", "354", "250"], codes)
        self.assertEqual([[JOE]] * 2, [each.messages[0][0] for each in self.told])
        self.assertEqual(2, self.journal.count("a begin"))

    def test_two_write_at_once_and_fail(self) -> None:
        """Each error has somebody who looks at it."""
        waiting: list[Deferred[None]] = [Deferred(), Deferred(), Deferred()]
        deeds: list[dict[str, object]] = [{"write": lambda _, each=each: each} for each in waiting]
        conversation = self.talk(*deeds)
        conversation.say("MAIL FROM:<>", f"RCPT TO:<{JOE}>", "DATA", "x", ".")
        waiting[1].errback(Refusal(NEVER))
        waiting[0].errback(Refusal(LATER))
        waiting[2].callback(None)
        self.assertEqual(["550"], conversation.hear())
        waiting = [Deferred(), Deferred()]
        conversation = self.talk({"write": lambda _: waiting[0]}, {"write": NEVER})
        codes = conversation.send(JOE)
        waiting[0].errback(Refusal(LATER))
        self.assertEqual("550", codes[-1])

    def test_client_goes(self) -> None:
        """What is pending is cancelled, and all are aborted."""
        for phase in ("begin", "rcpt", "open", "write", "commit"):
            cancelled: list[object] = []
            pending: Any = {phase: lambda *_, cancelled=cancelled: Deferred(cancelled.append)}
            conversation = self.talk({}, pending, pending if phase == "write" else {})
            conversation.say("MAIL FROM:<>", f"RCPT TO:<{JOE}>", "DATA", "x", ".")
            conversation.leave()
            self.assertEqual(2 if phase == "write" else 1, len(cancelled), phase)
            self.assertEqual([int(phase == "commit"), 0, 0], self.counts())
            self.assertEqual([0, 0, 0], [each.open for each in self.told], phase)
        self.assertEqual([], self.flushLoggedErrors())

    def test_abort_fails(self) -> None:
        """The others are aborted all the same."""
        self.talk({"abort": KeyError()}, {}, {"write": NEVER}).send(JOE)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertEqual(["a abort", "b abort", "c abort"], self.journal[-3:])


class LMTPTests(TeeCase):
    def test_each_recipient(self) -> None:
        """Each has the worst of its verdicts, and those behind hear of whom is left."""
        deeds: Any = ({"commit": lambda _: [OK, NEVER, LATER]}, {"commit": lambda _: [OK, LATER, NEVER]})
        codes = self.talk(*deeds, lmtp=True).send(JOE, SUE, "x@two.example")
        self.assertEqual(["250", "451", "451"], codes[-3:])
        self.assertEqual([1, 1], self.counts())

    def test_all_refused(self) -> None:
        """The others do not commit what nobody is to have."""
        deeds: list[tuple[str, object]]
        deeds = [("commit", NEVER), ("write", NEVER), ("commit", lambda _: [NEVER, NEVER])]
        for phase, what in deeds:
            codes = self.talk({}, {phase: what}, {}, lmtp=True).send(JOE, SUE)
            self.assertEqual(["550", "550"], codes[-2:])
            self.assertEqual(0, self.counts()[2])
            self.assertEqual(phase == "commit", bool(self.counts()[0]))

    def test_opening(self) -> None:
        self.talk({}, {"open": NEVER}, lmtp=True).send(JOE)
        self.assertEqual([0, 0], self.counts())


class FirstTests(TeeCase):
    """Only the first must take it."""

    def test_others(self) -> None:
        """Whatever they do, the message is taken."""
        for lmtp in (False, True):
            for phase in ("begin", "rcpt", "open", "write", "commit"):
                for what in (NEVER, KeyError("hunter2")):
                    conversation = self.talk({}, {phase: what}, {}, must="first", lmtp=lmtp)
                    self.assertEqual("250", conversation.send(JOE)[-1], phase)
                    conversation.leave()
                    self.assertEqual([1, 0, 1], self.counts(), phase)
                    self.assertEqual(isinstance(what, KeyError), bool(self.flushLoggedErrors(KeyError)))

    def test_answers(self) -> None:
        """What they say is not said."""
        self.assertEqual("250", self.talk({}, {"commit": lambda _: NEVER}, must="first").send(JOE)[-1])

    def test_later_failure(self) -> None:
        pending: Deferred[None] = Deferred()
        conversation = self.talk({}, {"write": lambda _: pending}, must="first")
        conversation.send(JOE)
        pending.errback(Refusal(NEVER))
        self.assertEqual(["250"], conversation.hear())
        self.assertEqual([1, 0], self.counts())

    def test_first(self) -> None:
        for phase in ("rcpt", "open", "write", "commit"):
            conversation = self.talk({phase: NEVER}, {}, must="first")
            self.assertIn("550", conversation.send(JOE), phase)
            conversation.leave()
            self.assertEqual([0, 0], self.counts())

    def test_too_many_for_one_message(self) -> None:
        """Another one that takes so many only has the others in the message that is theirs."""

        def one(address: str) -> None:
            if len(self.told[1].messages) != (address != JOE):
                raise Refusal(Catalogue().too_many_recipients)

        conversation = self.talk({}, {"rcpt": one}, must="first")
        self.assertEqual(["250", "452", "354", "250"], conversation.send(JOE, SUE))
        self.assertEqual(["250", "354", "250"], conversation.send(SUE))
        self.assertEqual([[[JOE], [SUE]]] * 2, [[to for to, _ in each.messages] for each in self.told])

    def test_some_recipients(self) -> None:
        """Another one has those that it took."""

        def only_joe(address: str) -> None:
            if address != JOE:
                raise Refusal(NEVER)

        self.assertEqual("250", self.talk({}, {"rcpt": only_joe}, must="first").send(SUE, JOE)[-1])
        self.assertEqual([[SUE, JOE], [JOE]], [each.messages[0][0] for each in self.told])


class Verifying(Discard):
    def __init__(self, *found: str) -> None:
        self.found = found

    async def verify(self, session: object, text: str) -> tuple[str, ...]:
        if not self.found:
            raise Refusal(NEVER)
        return tuple(each for each in self.found if text in each)


class Expanding(Discard):
    def expand(self, session: object, text: str) -> tuple[str, ...]:
        return (f"{text} <a@b.example>",)


class TogetherTests(SynchronousTestCase):
    """As one delivery."""

    def test_honours(self) -> None:
        self.assertEqual(Memory.honours, Tee([Memory(), Memory()]).honours)
        self.assertEqual(frozenset(), Tee([Memory(), Discard()]).honours)

    def test_settings(self) -> None:
        self.assertRaises(ValueError, Tee, [])
        must: Any = "some"
        error = self.assertRaises(ValueError, Tee, [Discard()], must=must)
        self.assertEqual("must is all or first, not 'some'", str(error))

    def test_answers_what_one_of_them_does(self) -> None:
        """VRFY and EXPN."""
        for delivery, verifies, expands in (
            (Tee([Discard(), Memory()]), False, False),
            (Tee([Discard(), Verifying("x")]), True, False),
            (Tee([Expanding(), Discard()]), False, True),
            (Tee([Tee([Expanding(), Verifying("x")]), Discard()]), True, True),
        ):
            self.assertEqual((verifies, expands), (isinstance(delivery, Verifier), isinstance(delivery, Expander)))

    def ask(self, *deliveries: Delivery) -> Any:
        tee: Any = Tee(deliveries)
        return Deferred.fromCoroutine(tee.verify(new_session(tee), "joe"))

    def test_verify(self) -> None:
        """The first that knows somebody answers; a refusal counts if nobody does."""
        answer = self.ask(Discard(), Verifying("sue"), Verifying(), Verifying("joe"), Verifying("joe too"))
        self.assertEqual(("joe",), self.successResultOf(answer))
        self.failureResultOf(self.ask(Verifying("sue"), Verifying()), Refusal)
        self.assertEqual((), self.successResultOf(self.ask(Verifying("sue"), Verifying("ann"))))

    def test_expand(self) -> None:
        tee: Any = Tee([Discard(), Expanding()])
        found = Deferred.fromCoroutine(tee.expand(new_session(tee), "list"))
        self.assertEqual(("list <a@b.example>",), self.successResultOf(found))

    def test_lifecycle(self) -> None:
        """All that take part are told, once; one that fails does not keep the others from it."""
        told: list[str] = []

        class Living(Discard):
            def __init__(self, name: str) -> None:
                self.name = name

            def check(self) -> None:
                told.append(f"check {self.name}")

            def start(self) -> None:
                told.append(f"start {self.name}")

            def reload(self) -> None:
                told.append(f"reload {self.name}")
                if self.name == "a":
                    raise KeyError

            async def stop(self) -> None:
                told.append(f"stop {self.name}")
                if self.name == "a":
                    raise KeyError

        a, b = Living("a"), Living("b")
        tee = Tee([a, Discard(), Tee([b]), a])
        tee.check()
        tee.start()
        tee.reload()
        self.successResultOf(Deferred.fromCoroutine(tee.stop()))
        self.assertEqual([f"{phase} {name}" for phase in ("check", "start", "reload", "stop") for name in "ab"], told)
        self.assertEqual(2, len(self.flushLoggedErrors(KeyError)))

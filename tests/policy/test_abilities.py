"""What a policy may do besides refusing: header fields, other recipients, a look at the message; and its failures."""

from collections.abc import Callable
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.lmtp import LMTPServer
from tests.support import Client, Server
from twistsmtp.delivery.api import Delivery, DeliveryTransaction
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.held import IN_MEMORY, PIECE
from twistsmtp.later import Later, awaited
from twistsmtp.policy.api import Policy
from twistsmtp.session import Phase, Session
from twistsmtp.wire.grammar import parse_mailbox
from twistsmtp.wire.reply import Refusal, Reply

NO = Reply(554, "5.7.1", "No")
STARS = b"* one\r\n" * 1000


class Does(Policy):
    """Calls a function in each phase, with the name of the phase and the session."""

    def __init__(self, function: Callable[[str, Session], Later[None]], *, reads: bool = False) -> None:
        self._function = function
        self.reads_message = reads

    def connect(self, session: Session) -> Later[None]:
        return self._function("connect", session)

    def hello(self, session: Session, name: str) -> Later[None]:
        return self._function("hello", session)

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        return self._function("mail", session)

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        return self._function("rcpt", session)

    def data(self, session: Session, envelope: Envelope) -> Later[None]:
        return self._function("data", session)

    def message(self, session: Session, envelope: Envelope) -> Later[None]:
        return self._function("message", session)


def _field(phase: str, session: Session) -> None:
    session.add_field(f"X-{phase.title()}", session.helo or "-")


def _but_of_message(phase: str, session: Session) -> None:
    if phase != "message":
        _field(phase, session)


class MemoryTestCase(SynchronousTestCase):
    def server(self, *policies: Policy, **settings: Any) -> Server:
        self.memory = Memory()
        return Server(self.memory, policies=policies, **settings)

    def front(self, number: int = -1) -> list[str]:
        """The header fields of a message, from above, up to the Received field."""
        names = [line.partition(b":")[0].decode() for line in self.memory.messages[number].octets.split(b"\r\n")]
        return names[: names.index("Received")]


class FieldTests(MemoryTestCase):
    def test_each_phase_may_add_one(self) -> None:
        client = self.server(Does(_field, reads=True)).connect().hello()
        self.assertEqual(client.message()[-1][:3], "250")
        self.assertEqual(self.front(), ["X-Connect", "X-Hello", "X-Mail", "X-Rcpt", "X-Data", "X-Message"])

    def test_chunks(self) -> None:
        """BDAT is no different from DATA."""
        client = self.server(Does(_but_of_message)).connect().hello().begin()
        client.send(b"BDAT 7\r\nA: b\r\n\r")
        client.send(b"BDAT 1 LAST\r\n\n")
        self.assertEqual(self.front(), ["X-Connect", "X-Hello", "X-Mail", "X-Rcpt", "X-Data"])
        self.assertTrue(self.memory.messages[0].octets.endswith(b"+0000\r\nA: b\r\n\r\n"))

    def test_those_of_a_message_end_with_it(self) -> None:
        """Those of the session are in front of each message; EHLO takes back what it said."""
        client = self.server(Does(_but_of_message)).connect().hello()
        client.begin().say("RSET")
        for _ in range(2):
            client.say("EHLO again.test")
            client.message()
            self.assertEqual(self.front(), ["X-Connect", "X-Hello", "X-Mail", "X-Rcpt", "X-Data"])
        self.assertIn(b"X-Hello: again.test\r\n", self.memory.messages[-1].octets)

    def test_one_for_each_recipient(self) -> None:
        client = self.server(Does(_but_of_message)).connect().hello().begin("b@mx.test", "c@mx.test")
        client.say("DATA")
        client.send(b".\r\n")
        self.assertEqual(self.front(), ["X-Connect", "X-Hello", "X-Mail", "X-Rcpt", "X-Rcpt", "X-Data"])

    def test_no_received_field(self) -> None:
        server = self.server(Does(_but_of_message))
        self.memory.wants_received = False
        server.connect().hello().message()
        self.assertTrue(self.memory.messages[0].octets.startswith(b"X-Connect: -\r\n"))
        self.assertIn(b"X-Data: client.test\r\nSubject:", self.memory.messages[0].octets)

    def test_too_late(self) -> None:
        """The message has gone on when nobody holds it: the policy fails, and the client is to try again."""
        client = self.server(Does(_field)).connect().hello()
        self.assertEqual(client.message()[-1][:9], "451 4.3.0")
        self.assertEqual(self.memory.messages, [])
        self.assertIn("reads_message", str(self.flushLoggedErrors(ValueError)[0].value))

    def test_no_line_of_a_client_s(self) -> None:
        """What is no header field is none, wherever its text came from."""

        def add(phase: str, session: Session) -> None:
            session.add_field("X-Helo", "one\r\nX-Other: two")

        client = self.server(Does(add)).connect()
        self.assertEqual(client.read()[:9], b"421 4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_starttls_forgets_what_was_said_in_plain_text(self) -> None:
        """What is known of the client's address stays."""
        session = self.server(Does(_but_of_message)).connect().hello().begin().session
        session.restart()
        self.assertEqual(list(session.fields), [Phase.CONNECT])


def _redirect(*mailboxes: str, of: str = "b@mx.test") -> Policy:
    class Redirect(Policy):
        def rcpt(self, session: Session, recipient: Recipient) -> None:
            if str(recipient.mailbox) == of:
                session.redirect(*map(parse_mailbox, mailboxes))

    return Redirect()


class Picky(Delivery):
    """Refuses who is in the mailbox ``nobody``, and answers each recipient."""

    def begin(self, session: Session, reverse_path: ReversePath) -> "PickyTransaction":
        return PickyTransaction()


class PickyTransaction(DeliveryTransaction):
    def rcpt(self, recipient: Recipient) -> None:
        if recipient.mailbox.local == "nobody":
            raise Refusal(Reply(550, "5.1.1", "Nobody"))

    def open(self, envelope: Envelope) -> None:
        self._recipients = envelope.recipients

    def commit(self) -> list[Reply]:
        return [
            Reply(452, "4.2.2", f"{each} is full") if each.mailbox.local == "full" else Reply(250, "2.0.0", f"{each}")
            for each in self._recipients
        ]


class RedirectTests(MemoryTestCase):
    def recipients(self) -> list[str]:
        return [str(each) for each in self.memory.messages[-1].envelope.recipients]

    def test_one_and_several(self) -> None:
        for others in (("c@mx.test",), ("c@mx.test", "d@mx.test", "b@mx.test")):
            client = self.server(_redirect(*others)).connect().hello()
            self.assertEqual(client.begin("a@mx.test", "b@mx.test", "e@mx.test").codes("DATA"), ["354"])
            client.send(b".\r\n")
            self.assertEqual(self.recipients(), ["a@mx.test", *others, "e@mx.test"])

    def test_parameters_are_theirs_too(self) -> None:
        client = self.server(_redirect("c@mx.test")).connect().hello()
        client.say("MAIL FROM:<>", "RCPT TO:<b@mx.test> NOTIFY=NEVER", "DATA")
        client.send(b".\r\n")
        (recipient,) = self.memory.messages[0].envelope.recipients
        self.assertEqual(recipient.options, (("NOTIFY", "NEVER"),))

    def test_the_last_that_redirects_wins(self) -> None:
        client = self.server(_redirect("c@mx.test"), _redirect("d@mx.test")).connect().hello()
        client.message()
        self.assertEqual(self.recipients(), ["d@mx.test"])

    def test_a_refusal_behind_it(self) -> None:
        """The next recipient is as the client said it."""

        class Refuse(Policy):
            def rcpt(self, session: Session, recipient: Recipient) -> None:
                if str(recipient) == "b@mx.test":
                    raise Refusal(NO)

        client = self.server(_redirect("c@mx.test"), Refuse()).connect().hello().begin("b@mx.test", "a@mx.test")
        client.say("DATA")
        client.send(b".\r\n")
        self.assertEqual(self.recipients(), ["a@mx.test"])

    def test_it_counts_as_the_one_that_the_client_said(self) -> None:
        """An alias does not make a client break the limit that EHLO told it."""
        server = self.server(_redirect("c@mx.test", "d@mx.test"))
        server.factory.limits = type(server.factory.limits)(recipients=2)
        client = server.connect().hello()
        client.say("MAIL FROM:<>")
        said = client.codes(*["RCPT TO:<b@mx.test>"] * 3)
        self.assertEqual(said, ["250 2.1.5", "250 2.1.5", "452 4.5.3"])

    def test_one_of_several_is_refused(self) -> None:
        """Then the recipient is, and the envelope has none of them."""
        client = Server(Picky(), policies=[_redirect("c@mx.test", "nobody@mx.test")]).connect().hello()
        self.assertEqual(
            client.codes("MAIL FROM:<>", "RCPT TO:<b@mx.test>", "DATA"), ["250 2.1.0", "550 5.1.1", "554 5.5.1"]
        )

    def records(self, rcpt: Callable[[str], object], *, begin: Callable[[int], object] = bool) -> Client:
        """A client of a delivery that records; *rcpt* and *begin* may raise, or give a Deferred."""
        self.journal: list[str] = []
        self.begun = 0
        case = self

        class Recording(Delivery):
            async def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
                case.begun += 1
                one = self.Transaction(case.begun)
                case.journal.append(f"{one.number} begin")
                answer = begin(one.number)
                if isinstance(answer, Deferred):
                    await answer
                return one

            class Transaction(DeliveryTransaction):
                def __init__(self, number: int) -> None:
                    self.number = number

                async def rcpt(self, recipient: Recipient) -> None:
                    case.journal.append(f"{self.number} {recipient.mailbox.local}")
                    answer = rcpt(recipient.mailbox.local)
                    if isinstance(answer, Deferred):
                        await answer

                def commit(self) -> None:
                    case.journal.append(f"{self.number} commit")

                def abort(self) -> None:
                    case.journal.append(f"{self.number} abort")

        policy = _redirect("c@mx.test", "nobody@mx.test")
        return Server(Recording(), policies=[policy]).connect().hello().begin("a@mx.test")

    @staticmethod
    def no_nobody(local: str) -> None:
        if local == "nobody":
            raise Refusal(Reply(550, "5.1.1", "Nobody"))

    def test_the_delivery_forgets_those_that_it_took(self) -> None:
        """Where one of several is refused: nobody has the mail of a recipient that was refused."""
        client = self.records(self.no_nobody)
        self.assertEqual(client.codes("RCPT TO:<b@mx.test>", "RCPT TO:<e@mx.test>", "DATA")[0], "550 5.1.1")
        self.assertEqual(client.send(b".\r\n")[:3], b"250")
        first = ["1 begin", "1 a", "1 c", "1 nobody", "1 abort"]
        self.assertEqual(self.journal, [*first, "2 begin", "2 a", "2 e", "2 commit"])
        self.assertEqual(client.session.counts.transactions, 1)

    def test_it_does_not_begin_anew(self) -> None:
        """Then the transaction has ended, and is aborted once."""
        asked: list[str] = []

        def not_twice(local: str) -> None:
            self.no_nobody(local)
            if local in asked:
                raise Refusal(Reply(451, "4.3.0", "Later"))
            asked.append(local)

        def no_second(number: int) -> None:
            if number == 2:
                raise Refusal(Reply(451, "4.3.0", "Later"))

        for client, last in (
            (lambda: self.records(self.no_nobody, begin=no_second), ["1 abort", "2 begin"]),
            (lambda: self.records(not_twice), ["2 a", "2 abort"]),
        ):
            said = client().codes("RCPT TO:<b@mx.test>", "DATA", "MAIL FROM:<>")
            self.assertEqual((said[0], said[1][:3]), ("451 4.3.0", "503"))
            self.assertEqual(self.journal[-3:], [*last, "3 begin"])

    def test_the_client_goes_while_it_begins_anew(self) -> None:
        """Each transaction of the delivery is aborted once, whatever is waited for."""
        waits: list[Deferred[None]] = []

        def wait(*_: object) -> "Deferred[None]":
            waits.append(Deferred(lambda each: each.callback(None)))  # to cancel it does no good
            return waits[-1]

        def second(number: int) -> object:
            return wait() if number == 2 else None

        def nobody_and_then(local: str) -> object:
            self.no_nobody(local)
            return wait() if self.begun == 2 else None

        for connect in (lambda: self.records(self.no_nobody, begin=second), lambda: self.records(nobody_and_then)):
            del waits[:]
            client = connect()
            client.say("RCPT TO:<b@mx.test>")
            self.assertEqual(len(waits), 1)
            client.vanish()
            aborted = [each for each in self.journal if each.endswith("abort")]
            self.assertEqual(aborted, ["1 abort", "2 abort"])
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_nowhere(self) -> None:
        """Mail goes somewhere, or is refused."""
        client = self.server(_redirect()).connect().hello()
        self.assertEqual(client.codes("MAIL FROM:<>", "RCPT TO:<b@mx.test>"), ["250 2.1.0", "451 4.3.0"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_lmtp_has_a_reply_for_each_that_the_client_said(self) -> None:
        """RFC 2033 section 4.2."""
        server = LMTPServer(Picky(), policies=[_redirect("c@mx.test", "full@mx.test")])
        client = server.connect().hello().begin("a@mx.test", "b@mx.test", "e@mx.test")
        client.say("DATA")
        self.assertEqual(
            client.send(b".\r\n").splitlines(),
            [b"250 2.0.0 a@mx.test", b"452 4.2.2 full@mx.test is full", b"250 2.0.0 e@mx.test"],
        )

    def test_lmtp_refuses_each_once(self) -> None:
        policies = [_redirect("c@mx.test", "d@mx.test"), Does(self._refuse_message)]
        client = LMTPServer(Picky(), policies=policies).connect().hello().begin("a@mx.test", "b@mx.test")
        client.say("DATA")
        self.assertEqual(client.send(b".\r\n").splitlines(), [b"554 5.7.1 No"] * 2)

    def _refuse_message(self, phase: str, session: Session) -> None:
        if phase == "message":
            raise Refusal(NO)


class Reader(Policy):
    """Reads each message, and refuses those with a word in it."""

    reads_message = True

    def __init__(self, pending: "Deferred[None] | None" = None) -> None:
        self.read: list[bytes] = []
        self._pending = pending

    async def message(self, session: Session, envelope: Envelope) -> None:
        self.read.append(session.message.open().read())
        assert len(self.read[-1]) == session.message.size
        await awaited(self._pending)
        if b"virus" in self.read[-1]:
            raise Refusal(NO)
        session.add_field("X-Size", str(session.message.size))


class ReadsMessageTests(MemoryTestCase):
    def test_all_of_it_and_nothing_else(self) -> None:
        """Without what the server writes in front of it; and the delivery gets the same octets."""
        for body in (b"", b"Subject: x\r\n\r\n..\r\n", STARS, STARS * (IN_MEMORY // len(STARS) + 2)):
            reader = Reader()
            client = self.server(reader).connect().hello()
            self.assertEqual(client.message(body)[-1][:3], "250")
            read = body.replace(b"\r\n..", b"\r\n.")
            self.assertEqual(reader.read, [read])
            self.assertEqual(self.front(), ["X-Size"])
            self.assertTrue(self.memory.messages[0].octets.endswith(b" +0000\r\n" + read))

    def test_refused(self) -> None:
        client = self.server(Reader()).connect().hello()
        self.assertEqual(client.message(b"a virus\r\n"), ["354 Go ahead", "554 5.7.1 No"][1:])
        self.assertEqual((self.memory.messages, client.session.transaction), ([], None))

    def test_the_delivery_gets_nothing_before(self) -> None:
        """Later it gets all, in pieces."""
        pending: Deferred[None] = Deferred()
        got: list[bytes] = []

        class Slow(Delivery):
            def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
                return self.Transaction()

            class Transaction(DeliveryTransaction):
                async def write(self, octets: bytes) -> None:
                    got.append(octets)

        body = STARS * (3 * PIECE // len(STARS))
        client = Server(Slow(), policies=[Reader(pending)]).connect().hello()
        self.assertEqual((client.message(body), got), ([], []))
        pending.callback(None)
        self.assertEqual(client.read()[:3], b"250")
        self.assertEqual((b"".join(got)[-len(body) :], len(got)), (body, 1 + len(body) // PIECE))

    def test_the_client_goes_meanwhile(self) -> None:
        pending: Deferred[None] = Deferred()
        client = self.server(Reader(pending)).connect().hello()
        client.message(STARS)
        held = client.session.message
        client.vanish()
        self.assertEqual(self.memory.messages, [])
        self.assertRaises(ValueError, held.open)  # it is closed

    def test_nothing_is_held_where_nobody_reads(self) -> None:
        found: list[str] = []

        def look(phase: str, session: Session) -> None:
            if phase == "message":
                found.append(str(self.assertRaises(LookupError, lambda: session.message)))

        self.server(Does(look)).connect().hello().message()
        self.assertEqual(found, ["no message is held"])

    def test_a_limit_in_the_middle(self) -> None:
        server = self.server(Reader())
        server.factory.limits = type(server.factory.limits)(message_size=100)
        self.assertEqual(server.connect().hello().message(STARS)[-1][:9], "552 5.3.4")

    @given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
    def test_chunks_are_untouched(self, chunks: list[bytes], last: bool) -> None:
        client = self.server(Reader()).connect().hello()
        client.say("MAIL FROM:<> BODY=BINARYMIME", "RCPT TO:<b@mx.test>")
        for chunk in chunks:
            client.send(b"BDAT %d\r\n%b" % (len(chunk), chunk))
        client.send(b"BDAT 0 LAST\r\n" if last else b"BDAT 1 LAST\r\n\n")
        whole = b"".join(chunks) + (b"" if last else b"\n")
        if b"virus" not in whole:
            self.assertTrue(self.memory.messages[0].octets.endswith(b" +0000\r\n" + whole))


class FailureTests(SynchronousTestCase):
    def codes(self, on_failure: Literal["defer", "pass"], *, later: bool) -> list[str]:
        pending: Deferred[None] = Deferred()

        class Broken(Policy):
            async def mail(self, session: Session, reverse_path: ReversePath) -> None:
                if later:
                    await pending
                raise RuntimeError("the secret of the operator")

        policy = Broken()
        policy.on_failure = on_failure
        client: Client = Server(policies=[policy]).connect().hello()
        client.send(b"MAIL FROM:<>\r\n")
        if later:
            pending.callback(None)
        said = b"".join(client.wire.writes)
        self.assertNotIn(b"secret", said)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        return said.decode().splitlines()[-1:]

    def test_what_fails_is_deferred_or_passes(self) -> None:
        for later in (False, True):
            self.assertEqual(self.codes("defer", later=later)[0][:9], "451 4.3.0")
            self.assertEqual(self.codes("pass", later=later)[0][:9], "250 2.1.0")

    def test_a_refusal_is_no_failure(self) -> None:
        class No(Policy):
            on_failure = "pass"

            def mail(self, session: Session, reverse_path: ReversePath) -> None:
                raise Refusal(NO)

            async def hello(self, session: Session, name: str) -> None:
                raise Refusal(NO)

        client = Server(policies=[No()]).connect()
        client.read()
        self.assertEqual(client.codes("EHLO a.test", "HELO a.test"), ["554 5.7.1"] * 2)

    def test_a_client_that_goes_is_no_failure(self) -> None:
        class Waits(Policy):
            on_failure = "pass"

            async def mail(self, session: Session, reverse_path: ReversePath) -> None:
                await Deferred()

        server = Server(policies=[Waits()])
        client = server.connect().hello()
        client.say("MAIL FROM:<>")
        client.vanish()
        self.assertEqual((self.flushLoggedErrors(), server.delivery.script.calls), ([], []))

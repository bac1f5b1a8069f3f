"""Recipients that are not to share a message, and those that have to."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.lmtp import LMTPServer
from tests.support import Client, Server
from twistsmtp.delivery.apart import Apart
from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, Refusal, Reply, Session
from twistsmtp.delivery.memory import Memory
from twistsmtp.delivery.route import Route
from twistsmtp.delivery.tee import Tee
from twistsmtp.policy.api import Policy
from twistsmtp.wire.grammar import parse_mailbox

GONE = Reply(550, "5.1.1", "Gone")
FULL = Reply(452, "4.2.2", "Full")


class Each(Delivery):
    """Has a verdict of its own for each recipient: the local part says which."""

    def __init__(self) -> None:
        self.has: list[str] = []

    def begin(self, session: Session, reverse_path: object) -> DeliveryTransaction:
        return EachOne(self, session)


class EachOne(DeliveryTransaction):
    def __init__(self, delivery: Each, session: Session) -> None:
        self.delivery = delivery
        self.apart = Apart(session)

    def rcpt(self, recipient: Recipient) -> None:
        self.apart.check()
        if recipient.mailbox.local == "gone":
            raise Refusal(GONE)
        self.apart.taken()

    def open(self, envelope: Envelope) -> None:
        self.recipients = [each.mailbox.local for each in envelope.recipients]

    def commit(self) -> list[Reply]:
        self.delivery.has += [each for each in self.recipients if each != "full"]
        return [FULL if each == "full" else Reply(250, "2.0.0", each) for each in self.recipients]


class Picky(Memory):
    """Takes nobody of whom it does not know."""

    def begin(self, session: Session, reverse_path: Any) -> Any:
        transaction = super().begin(session, reverse_path)

        def rcpt(recipient: Recipient) -> None:
            if recipient.mailbox.local == "stranger":
                raise Refusal(GONE)

        transaction.rcpt = rcpt  # type: ignore[method-assign]  # of this one
        return transaction


class Alias(Policy):
    """``both`` stands for ada and bob, ``half`` for ada and one who is gone."""

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        others = {"both": ("ada", "bob"), "half": ("ada", "gone")}.get(recipient.mailbox.local)
        if others:
            session.redirect(*(parse_mailbox(f"{each}@mx.test") for each in others))


class ApartTests(SynchronousTestCase):
    def connect(self, delivery: Delivery, kind: type[Server] = Server) -> Client:
        return kind(delivery, policies=[Alias()]).connect().hello()

    def codes(self, client: Client, *recipients: str) -> list[str]:
        """What is said of each recipient, and of the message."""
        rcpt = [f"RCPT TO:<{each}@mx.test>" for each in recipients]
        [_, *codes] = client.codes("MAIL FROM:<>", *rcpt, "DATA")
        if codes[-1] == "354":
            codes[-1:] = client.codes("x", ".")
        client.say("RSET")
        return [each[:3] for each in codes]

    def deliver(self, client: Client, *recipients: str) -> dict[str, str]:
        """What becomes of each, where the client comes again for whom it was told to."""
        left, told = list(recipients), {}
        for _ in recipients:
            codes = self.codes(client, *left)
            [verdict] = codes[len(left) :]
            for each, code in zip(left, codes, strict=False):
                if code != "452":
                    told[each] = verdict if code == "250" else code
            left = [each for each in left if each not in told]
        self.assertEqual(left, [])
        return told

    def test_each_has_its_own_verdict(self) -> None:
        delivery = Each()
        told = self.deliver(self.connect(delivery), "ada", "full", "gone", "bob")
        self.assertEqual(told, {"ada": "250", "full": "452", "gone": "550", "bob": "250"})
        self.assertEqual(delivery.has, ["ada", "bob"])

    def test_an_alias(self) -> None:
        """Those that it stands for are one to the client, and share a message: it could never be rid of it else."""
        delivery = Each()
        self.assertEqual(self.deliver(self.connect(delivery), "both"), {"both": "250"})
        told = self.deliver(self.connect(delivery), "eve", "both", "half", "joe")
        self.assertEqual(told, {"eve": "250", "both": "250", "half": "550", "joe": "250"})
        self.assertEqual(delivery.has, ["ada", "bob", "eve", "ada", "bob", "joe"])

    def test_lmtp(self) -> None:
        codes = self.codes(self.connect(Each(), LMTPServer), "ada", "full", "bob")
        self.assertEqual(codes, ["250", "250", "250", "250", "452", "250"])

    def test_behind_a_tee(self) -> None:
        """Whom another delivery refuses takes nobody's place, and who begins anew is asked once more."""
        for first in (True, False):
            delivery, memory = Each(), Picky()
            tee = Tee([delivery, memory] if first else [memory, delivery])
            told = self.deliver(self.connect(tee), "stranger", "ada", "both", "bob")
            self.assertEqual(told, {"stranger": "550", "ada": "250", "both": "250", "bob": "250"})
            self.assertEqual(delivery.has, ["ada", "ada", "bob", "bob"])
            names = [[to.mailbox.local for to in each.envelope.recipients] for each in memory.messages]
            self.assertEqual(names, [["ada"], ["ada", "bob"], ["bob"]])

    def test_behind_a_route(self) -> None:
        """An alias may lead to several deliveries; nobody else comes to them then."""
        ada, others = Each(), Memory()
        client = self.connect(Route({"ada@mx.test": ada}, others, apart=True))
        told = self.deliver(client, "both", "ada", "eve", "bob")
        self.assertEqual(set(told.values()), {"250"})
        self.assertEqual(ada.has, ["ada", "ada"])
        names = [[to.mailbox.local for to in each.envelope.recipients] for each in others.messages]
        self.assertEqual(names, [["bob"], ["eve", "bob"]])

    def test_an_alias_that_is_refused_half_way(self) -> None:
        """Who had been taken before is taken once more, and stays apart."""
        far, others = Picky(), Memory()
        routes = {"ada@mx.test": far, "gone@mx.test": Each(), "eve@mx.test": far}
        client = self.connect(Route(routes, others, apart=True))
        codes = self.codes(client, "eve", "half", "bob")
        self.assertEqual(codes, ["250", "452", "452", "250"])
        codes = self.codes(client, "half", "bob")
        self.assertEqual(codes, ["550", "250", "250"])
        self.assertEqual((len(far.messages), len(others.messages)), (1, 1))

    def test_without_a_transaction(self) -> None:
        """A delivery may be tried by itself."""
        session = Server().connect().session
        apart = Apart(session)
        for _ in range(2):
            apart.check()
            apart.taken()

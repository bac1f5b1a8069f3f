"""`LMTP`: a word of the far side for each recipient."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, GONE, Far, Net, extensions
from tests.delivery.test_relay import MESSAGE, OFFERS, RelayTestCase
from tests.lmtp import LMTPServer
from twistsmtp.client import Credentials, Destination, TLSMode
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.lmtp import LMTP


def _words(said: Iterable[str]) -> dict[str, Any]:
    """What the far side says of each recipient behind the message."""
    return {f"end {n}": word for n, word in enumerate(said, 1)}


class LMTPTests(RelayTestCase):
    def begin(self, *offers: str, kind: Any = None, apart: bool = False, **replies: Any) -> None:
        """An LMTP server, and a server of ours that hands mail to it."""
        named = {name.replace("_", " "): reply for name, reply in replies.items()}
        self.net = Net(lambda: Far(offers, named, lmtp=True))
        self.start_relay(Destination(host="far.test", lmtp=True), partial(LMTP, apart=apart))
        if kind is not None:
            self.server = kind(self.relay, reactor=self.net.clock)
            self.server.clock = self.net.clock
            self.client = self.connect()

    def test_a_message(self) -> None:
        for offers in OFFERS:
            self.begin(*offers)
            self.envelope("b@mx.test", "c@mx.test")
            self.assertEqual(self.message()[-1], "250 2.0.0 Queued")
            [(_, recipients, octets)] = self.net.far.taken
            self.assertEqual((len(recipients), octets[-len(MESSAGE) :]), (2, MESSAGE))
            self.assertEqual(self.net.far.heard[0], "LHLO mx.test")

    def test_each_word(self) -> None:
        """A client that speaks LMTP gets it for each recipient that was taken, whatever the words are."""
        words = {
            ("250 2.1.5 Saved", "452 4.2.2 Full", "550 5.2.0 Not you"): None,
            ("550 5.2.0 Not you", "550 5.2.0 Nor you", "452 4.2.2 Full"): None,
            ("421 4.3.2 Bye", "250 2.1.5 Saved", "250 2.1.5 Saved"): "451 4.4.0",
        }
        for offers in (*OFFERS, extensions("CHUNKING")):
            for said, instead in words.items():
                self.begin(*offers, kind=LMTPServer, **_words(said))
                self.envelope("b@mx.test", "c@mx.test", "d@mx.test")
                replies = self.message()[1:]
                expected = [(instead or word[:9]) if word.startswith("421") else word[:9] for word in said]
                self.assertEqual([each[:9] for each in replies], expected)
                # And the connection lives on, at the beginning of a transaction.
                self.assertEqual([each[:3] for each in self.envelope()], ["250", "250"])

    def test_one_by_one(self) -> None:
        """Where each is to be apart, each has the message by itself, once, and a word of its own."""
        words = {"b@mx.test": "250 2.1.5 Saved", "c@mx.test": "452 4.2.2 Full", "d@mx.test": "550 5.2.0 Not you"}
        self.begin(*ALL, apart=True, **_words(words.values()))
        left, told = list(words), {}
        while left:
            replies = self.envelope(*left)
            self.assertEqual([each[:9] for each in replies[1:]], ["250 2.1.5", *["452 4.5.3"] * (len(left) - 1)])
            told[left.pop(0)] = self.message()[-1]
        self.assertEqual(told, words)
        self.assertEqual([to for far in self.net.fars for _, to, _ in far.taken], [["RCPT TO:<b@mx.test>"]])
        self.assertEqual(len(self.net.fars), 1)

    def test_whom_the_far_side_refuses(self) -> None:
        """Takes nobody's place."""
        self.begin(*ALL, apart=True, RCPT_1="550 5.1.1 No such user")
        replies = self.envelope("b@mx.test", "c@mx.test", "d@mx.test")
        self.assertEqual([each[:3] for each in replies], ["250", "550", "250", "452"])
        self.assertEqual(self.message()[-1], "250 2.0.0 Queued")

    def test_many_recipients(self) -> None:
        """A hundred share a message; where they are apart, who asks for more has made no mistake, and may stay."""
        self.begin(*ALL)
        self.assertEqual({each[:3] for each in self.envelope(*(f"{n}@mx.test" for n in range(100)))}, {"250"})
        self.begin(*ALL, apart=True)
        replies = self.envelope(*(f"{n}@mx.test" for n in range(500)))
        self.assertEqual([each[:3] for each in replies], ["250", "250", *["452"] * 499])
        self.assertEqual(self.message()[-1], "250 2.0.0 Queued")

    def test_one_word_for_all(self) -> None:
        """SMTP has room for one: temporary wins, so that nobody loses mail."""
        self.begin(*ALL, end_1="250 2.1.5 Saved", end_2="452 4.2.2 Full")
        self.envelope("b@mx.test", "c@mx.test")
        self.assertEqual(self.message()[-1], "452 4.2.2 Full")

    def test_a_refused_recipient(self) -> None:
        self.begin(*ALL, kind=LMTPServer, RCPT_1="550 5.1.1 No such user", end_2="452 4.2.2 Full")
        replies = self.envelope("b@mx.test", "c@mx.test", "d@mx.test")
        self.assertEqual([each[:3] for each in replies], ["250", "550", "250", "250"])
        self.assertEqual([each[:3] for each in self.message()[1:]], ["250", "452"])

    def test_it_dies_between_the_words(self) -> None:
        """Each that has come stands; of whom nothing was said, that is to come again."""
        for kind, said in ((LMTPServer, ["250 2.0.0", "451 4.4.2"]), (None, ["451 4.4.2"])):
            self.begin(*ALL, kind=kind, end_2=GONE)
            self.envelope("b@mx.test", "c@mx.test")
            self.assertEqual([each[:9] for each in self.message()[1:]], said)


class StringTests(SynchronousTestCase):
    def test_tcp(self) -> None:
        delivery = make_delivery("lmtp:127.0.0.1:24:tls=none")
        assert isinstance(delivery, LMTP)
        made = delivery.destination
        self.assertEqual((str(made), made.tls.mode, made.lmtp), ("127.0.0.1:24", TLSMode.NONE, True))

    def test_credentials(self) -> None:
        """On a UNIX socket nobody else answers."""
        delivery = make_delivery("lmtp:unix:/run/lmtp:username=ada")
        assert isinstance(delivery, LMTP)
        self.assertEqual(delivery.destination.credentials, Credentials(username="ada"))
        self.assertRaises(ValueError, make_delivery, "lmtp:127.0.0.1:24:username=ada:tls=none")

    def test_apart(self) -> None:
        for text, apart in (("", False), (":apart=yes", True), (":apart=no", False)):
            delivery = make_delivery(f"lmtp:127.0.0.1:24{text}")
            assert isinstance(delivery, LMTP)
            self.assertEqual(delivery._apart, apart)

    def test_unix(self) -> None:
        delivery = make_delivery("lmtp:unix:/run/dovecot/lmtp")
        assert isinstance(delivery, LMTP)
        made = delivery.destination
        self.assertEqual((made.path, made.host, made.tls.mode), ("/run/dovecot/lmtp", "", TLSMode.NONE))

    def test_what_is_wrong(self) -> None:
        for text in (
            "lmtp:",
            "lmtp:unix",
            "lmtp:unix:",
            "lmtp:host:x",
            "lmtp:host:24:apart=perhaps",
            "relay:host:25:apart=yes",
            "lmtp:unix:/run/x:tls=required",
            "lmtp:h:24:x=1",
        ):
            self.assertRaises(ValueError, make_delivery, text)
        self.assertRaises(ValueError, LMTP, Destination(host="far.test"))

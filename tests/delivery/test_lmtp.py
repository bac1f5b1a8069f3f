"""`LMTP`: a word of the far side for each recipient."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, GONE, Far, Net, extensions
from tests.delivery.test_relay import MESSAGE, OFFERS, RelayTestCase
from tests.lmtp import LMTPServer
from twistsmtp.client import Destination, TLSMode
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.lmtp import LMTP


class LMTPTests(RelayTestCase):
    def begin(self, *offers: str, kind: Any = None, **replies: str) -> None:
        """An LMTP server, and a server of ours that hands mail to it."""
        named = {name.replace("_", " "): reply for name, reply in replies.items()}
        self.net = Net(lambda: Far(offers, named, lmtp=True))
        self.start_relay(Destination(host="far.test", lmtp=True), LMTP)
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
                self.begin(*offers, kind=LMTPServer, **{f"end {n}": word for n, word in enumerate(said, 1)})
                self.envelope("b@mx.test", "c@mx.test", "d@mx.test")
                replies = self.message()[1:]
                expected = [(instead or word[:9]) if word.startswith("421") else word[:9] for word in said]
                self.assertEqual([each[:9] for each in replies], expected)
                # And the connection lives on, at the beginning of a transaction.
                self.assertEqual([each[:3] for each in self.envelope()], ["250", "250"])

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
        """What is not known of one is not known of all: to deliver twice is better than not at all."""
        self.begin(*ALL, kind=LMTPServer, end_2=GONE)
        self.envelope("b@mx.test", "c@mx.test")
        self.assertEqual([each[:9] for each in self.message()[1:]], ["451 4.4.2", "451 4.4.2"])


class StringTests(SynchronousTestCase):
    def test_tcp(self) -> None:
        delivery = make_delivery("lmtp:127.0.0.1:24:tls=none")
        assert isinstance(delivery, LMTP)
        made = delivery._destination
        self.assertEqual((str(made), made.tls.mode, made.lmtp), ("127.0.0.1:24", TLSMode.NONE, True))

    def test_unix(self) -> None:
        delivery = make_delivery("lmtp:unix:/run/dovecot/lmtp")
        assert isinstance(delivery, LMTP)
        made = delivery._destination
        self.assertEqual((made.path, made.host, made.tls.mode), ("/run/dovecot/lmtp", "", TLSMode.NONE))

    def test_what_is_wrong(self) -> None:
        for text in (
            "lmtp:",
            "lmtp:unix",
            "lmtp:unix:",
            "lmtp:host:x",
            "lmtp:unix:/run/x:tls=required",
            "lmtp:h:24:x=1",
        ):
            self.assertRaises(ValueError, make_delivery, text)
        self.assertRaises(ValueError, LMTP, Destination(host="far.test"))

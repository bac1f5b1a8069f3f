"""A far side that dies at every step: nothing is called accepted that was not, and nothing waits for ever."""

from collections.abc import Iterator

from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, GONE, Net, extensions, refused
from twistsmtp.client import (
    ClientError,
    ConnectError,
    ConnectionLost,
    Credentials,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    Result,
    TimedOut,
    send_to,
)

MESSAGE = b"Subject: x\r\n\r\n" + b"text\r\n" * 50_000
#: What a server may offer that changes how it is spoken to.
OFFERS = ((), extensions("PIPELINING", "CHUNKING"), extensions("CHUNKING"), extensions("PIPELINING"), ALL)
#: Every step that has a reply of its own, but for those of DATA and BDAT.
STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "RCPT 2", "end")


def cases() -> Iterator[tuple[tuple[str, ...], str]]:
    for offers in OFFERS:
        for step in STEPS if "CHUNKING" in offers else (*STEPS, "DATA"):
            yield offers, step


class DyingTests(SynchronousTestCase):
    def send(self, net: Net, **settings: object) -> Result | ClientError:
        """Send a message to two recipients; what became of it."""
        pool = net.pool()
        outcome: list[Result | ClientError] = []
        work = send_to(pool, net.destination(**settings), "a@client.test", ["b@far.test", "c@far.test"], MESSAGE)
        sending = net.run(work)
        sending.addCallbacks(outcome.append, lambda failure: outcome.append(failure.value))
        for _ in range(20):
            if outcome:
                break
            net.clock.advance(100)
            net.turn()
        pool.close()
        net.turn()
        net.clock.advance(20)
        net.turn()
        self.assertEqual(net.clock.getDelayedCalls(), [])
        self.assertTrue(all(end.lost for end in net.ends), "a connection was left")
        [became] = outcome
        return became

    def test_all_is_well(self) -> None:
        for offers in OFFERS:
            for piece in (1 << 30, 1000):
                net = Net.scripted(*offers)
                net.piece = piece
                became = self.send(net)
                assert isinstance(became, Result)
                self.assertEqual([v.reply.code for v in became.verdicts], [250, 250])
                [(_, recipients, octets)] = net.far.taken
                self.assertEqual((len(recipients), octets), (2, MESSAGE))

    def test_it_goes(self) -> None:
        for offers, step in cases():
            became = self.send(net := Net.scripted(*offers, **{step: GONE}))
            self.assertIsInstance(became, OutcomeUnknown if step == "end" else ConnectionLost, (offers, step, became))
            assert isinstance(became, ClientError)
            self.assertTrue(became.temporary)
            self.assertEqual(step != "end", not isinstance(became, OutcomeUnknown))
            self.assertEqual(became.reply.enhanced, "4.4.2")
            self.assertEqual(net.far.taken, [])

    def test_it_says_nothing(self) -> None:
        for offers, step in cases():
            became = self.send(net := Net.scripted(*offers, **{step: ""}))
            self.assertIsInstance(became, OutcomeUnknown if step == "end" else TimedOut, (offers, step, became))
            self.assertEqual(net.far.taken, [])

    def test_it_refuses(self) -> None:
        for offers, step in cases():
            if step in {"EHLO", "RCPT 2"}:  # of which the one has another way, and the other another recipient
                continue
            for reply in ("451 4.3.0 Not now", "554 5.7.1 Never", "421 4.3.2 Shutting down"):
                became = self.send(net := Net.scripted(*offers, **{step: reply}))
                assert isinstance(became, Refused), (offers, step, became)
                self.assertEqual(str(became.reply), reply, (offers, step))
                self.assertEqual(became.temporary, reply[0] == "4")
                self.assertEqual(net.far.taken, [])

    def test_it_refuses_one(self) -> None:
        for offers in OFFERS:
            became = self.send(net := Net.scripted(*offers, RCPT_2="550 5.1.1 No such user"))
            assert isinstance(became, Result)
            self.assertEqual([str(v.reply) for v in became.verdicts], ["250 2.0.0 Queued", "550 5.1.1 No such user"])
            self.assertEqual([str(v.recipient) for v in became.refused], ["c@far.test"])
            [(_, recipients, octets)] = net.far.taken
            self.assertEqual((recipients, octets), (["RCPT TO:<b@far.test>"], MESSAGE))

    def test_it_speaks_no_smtp(self) -> None:
        for offers, step in cases():
            for reply in ("HTTP/1.1 400 Bad Request", "250 bare\n250 x", "399 What", "250-a\r\n550 b"):
                if step == "EHLO" and reply.startswith("399"):  # then there is HELO
                    continue
                became = self.send(net := Net.scripted(*offers, **{step: reply}))
                # Behind the message's end, it may have been taken, or not.
                kind = OutcomeUnknown if step == "end" else ProtocolError
                self.assertIsInstance(became, kind, (offers, step, reply, became))
                self.assertEqual(net.far.taken == [], step != "end" or reply[0] != "2")

    def test_it_goes_in_the_body(self) -> None:
        for offers in OFFERS:
            became = self.send(Net.scripted(*offers, body=GONE))
            # The last octets are out by then, and the reply to them has not come.
            self.assertIsInstance(became, ConnectionLost, offers)

    def test_it_refuses_in_the_body(self) -> None:
        """A server that has seen enough says so before the end, and goes on reading, or not."""
        for offers in OFFERS:
            became = self.send(net := Net.scripted(*offers, body="552 5.3.4 Too big"))
            assert isinstance(became, Refused), (offers, became)
            self.assertEqual(str(became.reply), "552 5.3.4 Too big")
            self.assertEqual(net.far.taken, [])

    def test_a_reply_to_nothing(self) -> None:
        """It is not taken for one to what is said next, which may be the message's end."""
        for offers in OFFERS:
            for said, kind in (("250 2.1.0 OK\r\n" * 5, ProtocolError), ("250 2.1.0 OK\r\n421 4.3.2 Bye\r\n", Refused)):
                became = self.send(net := Net.scripted(*offers, RCPT_2=said.removesuffix("\r\n")))
                self.assertIsInstance(became, kind, offers)
                self.assertEqual([octets for _, _, octets in net.far.taken if octets], [])

    def test_nobody_listens(self) -> None:
        for error in (ConnectionRefusedError(), DNSLookupError("no such host")):

            def far(error: Exception = error) -> None:
                raise error

            became = self.send(Net(far))
            assert isinstance(became, ConnectError)
            self.assertTrue(became.temporary)
            self.assertEqual(became.reply.enhanced, "4.4.1")
        self.assertIsInstance(self.send(Net(refused)), ConnectError)

    def test_it_dies_at_auth(self) -> None:
        credentials = Credentials(username="ada", password="geheim", plaintext=True)
        for reply, kind in ((GONE, ConnectionLost), ("", TimedOut), ("nonsense", ProtocolError)):
            became = self.send(net := Net.scripted("AUTH PLAIN", AUTH=reply), credentials=credentials)
            self.assertIsInstance(became, kind)
            self.assertNotIn("geheim", repr(became) + str(became))
            self.assertEqual(net.far.taken, [])

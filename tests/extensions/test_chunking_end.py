"""CHUNKING: how connections end inside a message and between its chunks, what time they have, and TLS."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import TLSClient, certificates
from tests.chunks import COMMANDS, TRANSACTION, bdat, chunking, codes, in_rcpt, only
from tests.scripted import AT_ONCE, LATER, Answer, How, Script, ScriptedDelivery
from tests.support import Client, Server, cuts, logged
from twistsmtp.limits import Limits
from twistsmtp.security import Security

EVERY_WAY = (*AT_ONCE, *LATER)


class EndTests(SynchronousTestCase):
    """Connections that end inside a chunk, or between chunks."""

    def test_rfc3030_2_a_client_that_goes(self) -> None:
        for how in EVERY_WAY:
            for sent in (b"BDAT 10\r\n", b"BDAT 10 LAST\r\nabc", bdat(b"abc"), bdat(b"abc") + b"BDAT 0\r\nBDAT 9\r\nx"):
                client = in_rcpt(Script(how))
                client.server.delivery.script.release_all()
                with logged("twistsmtp.message") as events:
                    client.send(sent)
                    client.vanish()
                script = client.server.delivery.script
                self.assertEqual(script.waiting, [], (how, sent))
                self.assertEqual((only(client).commits, only(client).aborts), (0, 1), (how, sent))
                self.assertEqual([event["result"][:8] for event in events], ["aborted:"])
                self.assertEqual(self.flushLoggedErrors(), [])

    def test_rfc3030_2_a_client_that_goes_while_somebody_thinks(self) -> None:
        for step in ("policy_data", "open", "write", "policy_message", "commit"):
            for how in LATER:
                for sent in (bdat(b"abc", True), *[b"BDAT 0 LAST\r\n"] * (step != "write")):
                    script = Script(**{step: Answer(how)})
                    client = Server.scripted(script, extensions=chunking()).connect().hello().begin()
                    client.send(sent)
                    self.assertEqual([name for name, _ in script.waiting], [step])
                    client.vanish()
                    self.assertEqual(script.waiting, [])
                    self.assertEqual((only(client).commits, only(client).aborts), (0, 1), (step, how))
                    self.assertEqual(self.flushLoggedErrors(), [])

    def test_rfc3030_2_a_slow_delivery_is_not_given_more(self) -> None:
        for how in LATER:
            client = in_rcpt(Script(write=Answer(how)), limits=Limits(buffered=1000))
            script = client.server.delivery.script
            client.send(b"BDAT 5000\r\n" + b"x" * 500)
            for _ in range(9):
                client.send(b"x" * 500)
            self.assertEqual(client.wire.producerState, "paused")
            self.assertEqual(len(only(client).body), 500)
            said = b""
            while script.waiting:
                script.release()
                said += client.read()
            self.assertEqual(codes(said), ["250 2.0.0"])
            self.assertEqual(client.wire.producerState, "producing")
            self.assertEqual(only(client).body, b"x" * 5000)
            self.assertEqual(script.overlaps, [])

    def test_rfc3030_2_a_client_that_has_said_all_and_closes_its_side(self) -> None:
        for how in EVERY_WAY:
            for body in (b"text\r\n", b"no end of line"):
                client = Server(ScriptedDelivery(Script(how)), extensions=chunking()).connect()
                stream = b"EHLO client.test\r\n" + TRANSACTION + bdat(body, True) + b"QUIT\r\n"
                client.send(stream)
                client.finish_sending()
                client.server.delivery.script.release_all()
                self.assertTrue(client.closed)
                self.assertEqual(codes(b"".join(client.wire.writes))[-2:], ["250 2.0.0", "221 2.0.0"], (how, body))
                self.assertEqual(client.server.delivery.bodies, [body])

    def test_rfc3030_2_a_shutdown_waits_for_the_message(self) -> None:
        client = in_rcpt()
        client.send(bdat(b"abc"))
        client.server.factory.shutdown()
        self.assertEqual(client.read(), b"")
        self.assertEqual(codes(client.send(bdat(b"def", True))), ["250 2.0.0", "421 4.3.2"])
        self.assertTrue(client.closed)


class TimeTests(SynchronousTestCase):
    LIMITS = Limits(idle_time=50, data_time=200, data_rate=10, data_window=20)

    def client(self, sent: bytes) -> Client:
        client = in_rcpt(limits=self.LIMITS)
        client.send(sent)
        return client

    def replies(self, client: Client, seconds: int, every: int, octets: bytes) -> list[str]:
        """What is said while *octets* come every so many seconds."""
        said = b""
        for second in range(seconds):
            client.server.clock.advance(1)
            said += client.send(octets) if not second % every and not client.wire.lost else client.read()
        return codes(said)

    def test_rfc3030_2_idle_inside_a_chunk(self) -> None:
        limits = Limits(idle_time=50, data_window=1000, data_rate=1)
        for first in (b"", bdat(b"x")):
            client = in_rcpt(limits=limits)
            client.send(first + b"BDAT 1000\r\nabc")
            self.assertEqual(self.replies(client, 70, 1000, b"")[-1:], ["421 4.4.2"])
            self.assertEqual(only(client).aborts, 1)

    def test_rfc3030_2_idle_between_chunks(self) -> None:
        client = self.client(bdat(b"x"))
        self.assertEqual(self.replies(client, 70, 1000, b""), ["421 4.4.2"])
        self.assertEqual(only(client).aborts, 1)

    def test_rfc3030_2_too_slow_inside_a_chunk(self) -> None:
        for stage in (b"", b"RSET\r\n"):  # as well if it is thrown away
            client = self.client(stage + b"BDAT 1000\r\n")
            client.read()
            self.assertEqual(self.replies(client, 60, 1, b"x"), ["421 4.4.2"])

    def test_rfc3030_2_too_long_inside_a_chunk(self) -> None:
        client = self.client(b"BDAT 100000\r\n")
        self.assertEqual(self.replies(client, 230, 1, b"x" * 20), ["421 4.4.2"])

    def test_rfc3030_2_too_long_over_many_chunks(self) -> None:
        # It is the message that has so much time, however it is cut.
        client = self.client(b"")
        said = self.replies(client, 230, 10, bdat(b"x" * 300))
        self.assertEqual((said[0], said[-1]), ("250 2.0.0", "421 4.4.2"))
        self.assertEqual(only(client).aborts, 1)

    def test_rfc3030_2_too_slow_over_many_chunks(self) -> None:
        # The window of a chunk begins with it, so what is seen over all of them is what has come since the first.
        client = self.client(b"")
        with logged("twistsmtp.message") as events:
            said = self.replies(client, 60, 2, bdat(b"x"))
        self.assertEqual(said, ["250 2.0.0"] * 10 + ["421 4.4.2"])
        self.assertEqual(client.server.clock.seconds(), 60)
        self.assertEqual([event["result"][:13] for event in events], ["aborted: 421 "])
        self.assertTrue(client.closed)

    def test_rfc3030_2_fast_enough_over_many_chunks(self) -> None:
        client = self.client(b"")
        self.assertEqual(self.replies(client, 100, 2, bdat(b"x" * 30)), ["250 2.0.0"] * 50)

    def test_rfc3030_2_time_in_which_the_delivery_opens_is_not_the_clients(self) -> None:
        client = in_rcpt(Script(open=Answer(How.DEFERRED)), limits=self.LIMITS)
        client.send(bdat(b"x"))
        client.server.clock.pump([1] * 300)
        client.server.delivery.script.release()
        self.assertEqual(codes(client.read() + client.send(bdat(b"y", True))), ["250 2.0.0"] * 2)

    def test_rfc3030_2_chunks_of_nothing_do_not_keep_a_connection(self) -> None:
        client = in_rcpt(limits=Limits(idle_commands=10))
        replies = codes(client.send(b"BDAT 0\r\n" * 100))
        self.assertEqual((replies[0], replies[-1]), ("250 2.0.0", "421 4.7.0"))
        self.assertTrue(client.closed)

    def test_rfc3030_2_the_delivery_s_time_is_not_the_clients(self) -> None:
        client = in_rcpt(Script(write=Answer(How.DEFERRED)), limits=self.LIMITS)
        client.send(b"BDAT 30\r\n" + b"x" * 10)
        client.server.clock.pump([1] * 300)
        client.server.delivery.script.release()
        self.assertEqual(client.read(), b"")
        said = client.send(b"x" * 20)
        client.server.delivery.script.release_all()
        self.assertEqual(codes(said + client.read()), ["250 2.0.0"])


class TLSTests(SynchronousTestCase):
    def client(self, **settings: Any) -> TLSClient:
        client = TLSClient(Server(extensions=chunking(), security=Security(tls=certificates()), **settings))
        client.hello()
        return client

    def test_rfc3030_2_under_tls(self) -> None:
        client = self.client()
        client.start_tls().hello().begin()
        body = bytes(range(256)) * 200
        stream = bdat(body) + bdat(b"\n.\n", True) + b"NOOP\r\n"
        self.assertEqual(codes(b"".join(map(client.send, cuts(stream, [5, 9, 10, 16384, 40000])))), ["250 2.0.0"] * 3)
        self.assertTrue(only(client).octets.endswith(b" +0000\r\n" + body + b"\n.\n"))
        self.assertIn(b" with ESMTPS id ", only(client).octets)

    def test_rfc3030_2_a_chunk_behind_starttls_in_plain_text(self) -> None:
        client = self.client()
        client.begin().say("RSET")
        self.assertEqual(codes(client.raw(b"STARTTLS\r\n" + TRANSACTION + bdat(COMMANDS, True))), ["220 2.0.0"])
        client.shake_hands()
        self.assertEqual(client.codes("EHLO client.test", "NOOP"), ["250", "250 2.0.0"])
        self.assertEqual(client.server.delivery.bodies, [])

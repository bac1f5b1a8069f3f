"""The load generator of `benchmarks/` that begins with TLS."""

from twisted.internet.threads import deferToThread

from benchmarks.load import Load, LoadError, Sent
from tests.clients.kit import ROOT
from tests.clients.submission import SubmissionTestCase, Way


class StartTLSLoadTests(SubmissionTestCase):
    """Every message goes over TLS, and no reply is believed unseen."""

    async def send(self, load: Load, port: int) -> Sent:
        return await deferToThread(load.send, ROOT, port)  # it needs no program of C

    async def start_open(self, *domains: str) -> int:
        """A service for whoever comes, with mail for *domains*."""
        await self.start_service(require_auth=False, domain=[*domains])
        port: int = self.ports[Way.STARTTLS]
        return port

    async def test_what_it_says_is_what_was_sent(self) -> None:
        port = await self.start_open("example.com")
        for octets in (200, 1_000, 1_001, 100_000):
            sent = await self.send(Load("starttls", 3, 10, octets), port)
            self.assertEqual((sent.messages, sent.connections), (10, 10))
            stored = [*self.stored_here()]
            self.assertEqual([each.protocol for each in stored], ["ESMTPS"] * 10)
            self.assertEqual([len(each.octets) for each in stored], [octets] * 10)

    async def test_a_reply_that_is_not_the_one(self) -> None:
        port = await self.start_open("mx.test")
        with self.assertRaises(LoadError) as caught:
            await self.send(Load("starttls", 1, 2, 1_000), port)
        self.assertIn("was answered by b'550 5.7.1 Relaying denied", str(caught.exception))
        self.assertIn("(0 of 2 messages were done)", str(caught.exception))

    async def test_a_server_without_tls(self) -> None:
        with self.assertRaises(LoadError) as caught:
            await self.send(Load("starttls", 1, 1, 1_000), await self.serve())
        self.assertIn("b'STARTTLS' was answered by b'454 4.7.0 TLS is not available", str(caught.exception))

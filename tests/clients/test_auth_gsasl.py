"""GNU SASL's client, which can bind SCRAM to TLS. It logs in, and sends nothing."""

import re
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer

from tests.clients.kit import Process
from tests.clients.submission import ANN, BOB, Account, SubmissionTestCase, Way


class Hello(ProxyClient):
    """Says EHLO for a client that forgets it, and keeps the answer to itself. TLS goes through it as it is."""

    transport: Any

    def __init__(self) -> None:
        self._greeted = self._answered = False
        self._answer = b""

    def dataReceived(self, data: bytes) -> None:
        if not self._greeted:
            self._greeted = True
            self.transport.write(b"EHLO client.test\r\n")
        elif not self._answered:
            self._answer += data
            end = re.search(rb"^250 .*\r\n", self._answer, re.MULTILINE)
            self._answered, data = end is not None, self._answer[end.end() :] if end else b""
        super().dataReceived(data)


class HelloFactory(ProxyClientFactory):
    protocol = Hello
    noisy = False


class HelloServer(ProxyServer):
    clientProtocolFactory = HelloFactory  # noqa: N815  # Twisted's name


class GsaslTests(SubmissionTestCase):
    async def start_service(self, *checkers: Any, **settings: Any) -> None:
        from twisted.internet import reactor

        await super().start_service(*checkers, **settings)
        factory = ProxyFactory("127.0.0.1", self.ports[Way.STARTTLS])
        factory.protocol, factory.noisy = HelloServer, False
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    async def gsasl(self, mechanism: str, account: Account) -> Process:
        """Have it log in."""
        return await self.run_program(
            # --application-data: there is none.
            *("gsasl", "--client", "--smtp", "--starttls", "--verbose", "--application-data"),
            *("--connect", f"127.0.0.1:{self.port}", "--hostname", "127.0.0.1", "--x509-ca-file", self.authorities),
            *("--mechanism", mechanism, "--authentication-id", account.user, "--password", account.password),
            # Where it could bind it has no SCRAM that does not.
            *(() if mechanism.endswith("-PLUS") else ("--no-cb",)),
        )

    async def test_mechanisms(self) -> None:
        await self.start_service()
        scram = [f"SCRAM-SHA-{each}" for each in ("1", "1-PLUS", "256", "256-PLUS")]
        for mechanism in (*scram, "PLAIN", "LOGIN", "CRAM-MD5"):
            account = BOB if mechanism == "CRAM-MD5" else ANN
            process = await self.gsasl(mechanism, account)
            self.assertEqual((process.status, self.logins), (0, [(mechanism, account.user, "succeeded")]), str(process))
            # Which it says when the server's signature is right, too.
            self.assertIn("Client authentication finished (server trusted)...", str(process))
            self.logins.clear()
            process = await self.gsasl(mechanism, account.wrong)
            self.assertNotEqual(process.status, 0, str(process))
            self.assertIn("535 5.7.8 Authentication credentials invalid", str(process))
            self.assertEqual(self.logins, [(mechanism, account.user, "failed")])
            self.logins.clear()

    async def test_what_it_is_bound_by(self) -> None:
        await self.start_service()
        process = await self.gsasl("SCRAM-SHA-256-PLUS", ANN)
        self.assertIn("\ncD10bHMtZXhwb3J0ZXIs", str(process))  # p=tls-exporter,
        self.assertIn("Client authentication finished", str(process))

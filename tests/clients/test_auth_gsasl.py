"""GNU SASL's client, which can bind SCRAM to TLS. It logs in, and sends nothing."""

from tests.clients.kit import Process
from tests.clients.submission import ANN, BOB, Account, SubmissionTestCase, Way


class GsaslTests(SubmissionTestCase):
    async def gsasl(self, mechanism: str, account: Account, *arguments: str) -> Process:
        """Have it log in."""
        return await self.run_program(
            *("gsasl", "--client", "--smtp", "--starttls", "--verbose"),
            *("--connect", f"127.0.0.1:{self.ports[Way.STARTTLS]}", "--hostname", "127.0.0.1"),
            *("--x509-ca-file", self.authorities, "--mechanism", mechanism),
            *("--authentication-id", account.user, "--password", account.password),
            # Where it could bind it has no SCRAM that does not.
            *(() if mechanism.endswith("-PLUS") else ("--no-cb",)),
            *arguments,
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

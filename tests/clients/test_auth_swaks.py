"""swaks over TLS, and who may send by it."""

from tests.clients.kit import Process
from tests.clients.submission import ANN, BOB, ELSEWHERE, MESSAGE, Account, Holders, SubmissionTestCase, Way

#: It ends the last line of what it is given, which then needs no end of its own.
DATA = MESSAGE.removesuffix(b"\n")
#: What it ends with where it is not let in, and where TLS does not begin.
NOT_LET_IN, NO_TLS = 28, 29


class SwaksTests(SubmissionTestCase):
    async def swaks(self, way: Way, *arguments: str) -> Process:
        """Have it send a message."""
        return await self.run_program(
            *("swaks", "--server", "127.0.0.1", "--port", str(self.ports[way]), "--helo", "client.test"),
            *("-tlsc" if way is Way.IMPLICIT else "-tls", "--tls-verify", "--tls-ca-path", self.authorities),
            *("--timeout", "100", "--from", "a@mx.test", "--to", ELSEWHERE, "--data", f"@{self.file('message', DATA)}"),
            *arguments,
        )

    def by(self, mechanism: str, account: Account) -> tuple[str, ...]:
        return ("--auth", mechanism, "--auth-user", account.user, "--auth-password", account.password)

    async def test_passwords(self) -> None:
        await self.start_service()
        for way in Way:
            for mechanism, account in ("PLAIN", ANN), ("LOGIN", ANN), ("CRAM-MD5", BOB):
                for more in (), ("--pipeline",):
                    process = await self.swaks(way, *self.by(mechanism, account), *more)
                    self.assert_sent(process, mechanism, account.user)

    async def test_wrong_passwords(self) -> None:
        await self.start_service()
        for way in Way:
            for mechanism, account in ("PLAIN", ANN), ("LOGIN", ANN), ("CRAM-MD5", BOB):
                process = await self.swaks(way, *self.by(mechanism, account.wrong))
                says = "<~* 535 5.7.8 Authentication credentials invalid"
                self.assert_refused(process, mechanism, account.user, status=NOT_LET_IN, says=says)

    async def test_certificates(self) -> None:
        """swaks has no EXTERNAL, but shows its certificate: without one there is no TLS."""
        await self.start_service(Holders(), tls_client_ca=self.authorities, tls_client_cert="required")
        certificate = self.issue("ada.pem", "ada@mx.test")
        shown = ("--tls-cert", certificate, "--tls-key", certificate)
        for way in Way:
            self.assert_sent(await self.swaks(way, *shown, *self.by("PLAIN", ANN)), "PLAIN", ANN.user)
            process = await self.swaks(way, *self.by("PLAIN", ANN))
            self.assertNotEqual(process.status, 0, str(process))
            self.assertEqual((self.logins, [*self.stored_here()]), ([], []))

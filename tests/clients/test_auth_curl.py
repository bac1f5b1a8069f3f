"""curl over TLS, and who may send by it."""

from twisted.trial.unittest import SkipTest

from tests.authentication import TOKEN, USER, Bearers
from tests.clients.kit import Process
from tests.clients.submission import ANN, BOB, ELSEWHERE, MESSAGE, Account, Holders, SubmissionTestCase, Way

SENT = MESSAGE.replace(b"\n", b"\r\n")
#: What it ends with where it is not let in.
LOGIN_DENIED = 67


class CurlTests(SubmissionTestCase):
    async def curl(self, way: Way, account: Account, *arguments: str, mechanism: str | None = None) -> Process:
        """Have it send a message.

        :param mechanism: by which; if there is none, by what curl likes best.
        """
        scheme = "smtps" if way is Way.IMPLICIT else "smtp"
        return await self.run_program(
            *("curl", "--disable", "--silent", "--show-error", "--verbose", "--max-time", "100"),
            *("--url", f"{scheme}://127.0.0.1:{self.ports[way]}/client.test", "--ssl-reqd"),
            *("--cacert", self.authorities, "--user", f"{account.user}:{account.password}"),
            *(("--login-options", f"AUTH={mechanism}") if mechanism else ()),
            *("--mail-from", "a@mx.test", "--mail-rcpt", ELSEWHERE, "--upload-file", self.file("message", SENT)),
            *arguments,
        )

    async def features(self) -> set[str]:
        """What it was built with."""
        version = await self.run_program("curl", "--disable", "--version")
        return set(version.output.partition("\nFeatures:")[2].split())

    async def test_passwords(self) -> None:
        await self.start_service()
        for way in Way:
            for mechanism, account in ("PLAIN", ANN), ("LOGIN", ANN), ("CRAM-MD5", BOB):
                for more in (), ("--sasl-ir",):
                    process = await self.curl(way, account, *more, mechanism=mechanism)
                    self.assert_sent(process, mechanism, account.user)

    async def test_wrong_passwords(self) -> None:
        await self.start_service()
        for way in Way:
            for mechanism, account in ("PLAIN", ANN), ("LOGIN", ANN), ("CRAM-MD5", BOB):
                process = await self.curl(way, account.wrong, mechanism=mechanism)
                says = "< 535 5.7.8 Authentication credentials invalid"
                self.assert_refused(process, mechanism, account.user, status=LOGIN_DENIED, says=says)

    async def test_scram(self) -> None:
        if "gsasl" not in await self.features():
            raise SkipTest("curl was built without SCRAM")
        await self.start_service()
        for mechanism in "SCRAM-SHA-1", "SCRAM-SHA-256":
            self.assert_sent(await self.curl(Way.STARTTLS, ANN, mechanism=mechanism), mechanism, ANN.user)
            process = await self.curl(Way.IMPLICIT, ANN.wrong, mechanism=mechanism)
            self.assert_refused(process, mechanism, ANN.user, status=LOGIN_DENIED, says="< 535 5.7.8 ")

    async def test_tokens(self) -> None:
        # Of the two curl takes the standard's, where there are both. Of the other it knows that one more challenge
        # means no, and waits for nothing else.
        cases = ("OAUTHBEARER", "XOAUTH2", "< 535 5.7.8 "), ("XOAUTH2", "OAUTHBEARER", "< 334 eyJ")
        for mechanism, other, says in cases:
            await self.start_service(Bearers(), exclude_mechanism=[other])
            for way in Way:
                for more in (), ("--sasl-ir",):
                    process = await self.curl(way, Account(USER, ""), "--oauth2-bearer", TOKEN, *more)
                    self.assert_sent(process, mechanism, USER)
                    process = await self.curl(way, Account(USER, ""), "--oauth2-bearer", "wrong", *more)
                    self.assert_refused(process, mechanism, USER, status=LOGIN_DENIED, says=says)

    async def test_certificates(self) -> None:
        await self.start_service(Holders(), tls_client_ca=self.authorities)
        shown = ("--cert", self.issue("ada.pem", "ada@mx.test"))
        for way in Way:
            for more in (), ("--sasl-ir",):
                process = await self.curl(way, Account("ada@mx.test", ""), *shown, *more, mechanism="EXTERNAL")
                self.assert_sent(process, "EXTERNAL", "ada@mx.test")
            process = await self.curl(way, Account("eve@mx.test", ""), *shown, mechanism="EXTERNAL")
            self.assert_refused(process, "EXTERNAL", "-", status=LOGIN_DENIED, says="< 535 5.7.8 ")
            process = await self.curl(way, Account("ada@mx.test", ""), mechanism="EXTERNAL")
            self.assertEqual((process.status, self.logins), (LOGIN_DENIED, []), str(process))
            self.assertNotIn("EXTERNAL", process.errors.partition("< 250 AUTH")[2])

    async def test_a_certificate_that_says_who_it_is(self) -> None:
        """The client does not say it: of that there is nothing, which curl writes as = in an initial response."""
        await self.start_service(Holders(), tls_client_ca=self.authorities)
        shown = ("--cert", self.issue("ada.pem", "ada@mx.test"))
        process = await self.curl(Way.IMPLICIT, Account("", ""), *shown, "--sasl-ir", mechanism="EXTERNAL")
        self.assertIn("> AUTH EXTERNAL =\r\n", process.errors)
        self.assert_sent(process, "EXTERNAL", "ada@mx.test")

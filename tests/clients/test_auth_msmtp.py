"""msmtp over TLS, and who may send by it."""

import re

from tests.authentication import TOKEN, USER, Bearers
from tests.clients.kit import Process
from tests.clients.submission import ANN, BOB, ELSEWHERE, MESSAGE, Account, Holders, SubmissionTestCase, Way

#: With all the fields that msmtp would add.
COMPLETE = b"Date: Sun, 22 Nov 2026 00:00:00 +0000\nMessage-ID: <1@mx.test>\n" + MESSAGE
SENT = COMPLETE.replace(b"\n", b"\r\n")
EX_NOPERM = 77


class MsmtpTests(SubmissionTestCase):
    async def msmtp(self, way: Way, mechanism: str, account: Account, **more: str) -> Process:
        """Have it send a message.

        :param more: lines of its configuration.
        """
        settings = {
            "account": "default",
            "host": "127.0.0.1",
            "port": self.ports[way],
            "domain": "client.test",
            "from": "a@mx.test",
            "tls": "on",
            "tls_starttls": "on" if way is Way.STARTTLS else "off",
            "tls_trust_file": self.authorities,
            "auth": mechanism.lower(),
            "user": account.user,
            "password": f'"{account.password}"',
            "timeout": 100,
            **more,
        }
        file = self.file("msmtprc", "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
        return await self.run_program("msmtp", f"--file={file}", "--debug", ELSEWHERE, stdin=COMPLETE)

    async def mechanisms(self) -> set[str]:
        """Those that it was built with."""
        version = await self.run_program("msmtp", "--version")
        match = re.search(r"^Supported authentication methods:\n(.*)$", version.output, re.MULTILINE)
        return set(match[1].upper().split()) if match else set()

    async def assert_lets_in(self, way: Way, mechanism: str, account: Account, user: str, **more: str) -> None:
        self.assert_sent(await self.msmtp(way, mechanism, account, **more), mechanism, user, octets=SENT)

    async def assert_keeps_out(self, way: Way, mechanism: str, account: Account, user: str, **more: str) -> None:
        process = await self.msmtp(way, mechanism, account, **more)
        says = f"msmtp: authentication failed (method {mechanism})\nmsmtp: server message: 535 5.7.8 "
        self.assert_refused(process, mechanism, user, status=EX_NOPERM, says=says)

    async def test_passwords(self) -> None:
        built_in = await self.mechanisms()
        every = ("PLAIN", "LOGIN", "CRAM-MD5", *(f"SCRAM-SHA-{each}" for each in ("1", "1-PLUS", "256", "256-PLUS")))
        able = [each for each in every if each in built_in]
        self.assertLessEqual({"PLAIN", "LOGIN", "CRAM-MD5"}, {*able})
        await self.start_service()
        for way in Way:
            for mechanism in able:
                account = BOB if mechanism == "CRAM-MD5" else ANN
                await self.assert_lets_in(way, mechanism, account, account.user)
                await self.assert_keeps_out(way, mechanism, account.wrong, account.user)

    async def test_tokens(self) -> None:
        able = {"OAUTHBEARER", "XOAUTH2"} & await self.mechanisms()
        await self.start_service(Bearers())
        for way in Way:
            for mechanism in able:
                await self.assert_lets_in(way, mechanism, Account(USER, TOKEN), USER)
                await self.assert_keeps_out(way, mechanism, Account(USER, "wrong"), USER)

    async def test_certificates(self) -> None:
        await self.start_service(Holders(), tls_client_ca=self.authorities)
        certificate = self.issue("ada.pem", "ada@mx.test")
        shown = {"tls_cert_file": certificate, "tls_key_file": certificate}
        for way in Way:
            await self.assert_lets_in(way, "EXTERNAL", Account("ada@mx.test", ""), "ada@mx.test", **shown)
            await self.assert_keeps_out(way, "EXTERNAL", Account("eve@mx.test", ""), "-", **shown)

    async def test_the_best_of_what_there_is(self) -> None:
        """It chooses by itself, and the password that it would send in the open is safe in TLS."""
        await self.start_service()
        process = await self.msmtp(Way.IMPLICIT, "on", ANN)
        self.assertEqual([(each[1], each[2]) for each in self.logins], [(ANN.user, "succeeded")], str(process))
        self.assert_sent(process, self.logins[0][0], ANN.user, octets=SENT)

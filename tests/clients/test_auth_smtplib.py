"""smtplib over TLS, and who may send by it."""

import hashlib
import smtplib
import ssl
from collections.abc import Callable
from typing import Any

from scramp import ScramClient  # type: ignore[import-untyped]  # it has no types
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.clients.submission import ANN, BOB, ELSEWHERE, Account, SubmissionTestCase, Way
from twistsmtp.checkers.errors import MissingExtra, extra

MESSAGE = b"Subject: hello\r\n\r\n.\r\nhello\r\n"


class SMTPLibTestCase(SubmissionTestCase):
    """Clients in a thread."""

    async def send(
        self, way: Way, log_in: Callable[[smtplib.SMTP], object], *, version: ssl.TLSVersion | None = None
    ) -> None:
        """Send a message after *log_in*, in a thread.

        :param version: the newest of TLS that the client has.
        """
        context = ssl.create_default_context(cafile=self.authorities)
        if version is not None:
            context.maximum_version = version

        def talk() -> None:
            where: Any = {"host": "127.0.0.1", "port": self.ports[way], "timeout": 60}
            with smtplib.SMTP_SSL(**where, context=context) if way is Way.IMPLICIT else smtplib.SMTP(**where) as client:
                if way is Way.STARTTLS:
                    client.starttls(context=context)
                client.ehlo("client.test")
                log_in(client)
                client.sendmail("a@mx.test", [ELSEWHERE], MESSAGE)

        await deferToThread(talk)

    def assert_code(self, error: smtplib.SMTPResponseException, code: int, enhanced: bytes) -> None:
        """What the server has said."""
        said: Any = error.smtp_error  # octets, whatever its stubs say
        self.assertEqual((error.smtp_code, said[: len(enhanced)]), (code, enhanced))


class MechanismTests(SMTPLibTestCase):
    """The mechanisms that it has."""

    def by(self, mechanism: str, account: Account, *, initial: bool) -> Callable[[smtplib.SMTP], object]:
        """Logs in.

        :param initial: whether by an initial response.
        """

        def log_in(client: smtplib.SMTP) -> object:
            client.user, client.password = account.user, account.password
            respond = getattr(client, f"auth_{mechanism.lower().replace('-', '_')}")
            return client.auth(mechanism, respond, initial_response_ok=initial)

        return log_in

    async def test_mechanisms(self) -> None:
        await self.start_service()
        for way in Way:
            for mechanism, account in ("PLAIN", ANN), ("LOGIN", ANN), ("PLAIN", BOB), ("LOGIN", BOB), ("CRAM-MD5", BOB):
                for initial in True, False:
                    await self.send(way, self.by(mechanism, account, initial=initial))
                    self.assert_sent(None, mechanism, account.user, octets=MESSAGE)

    async def test_the_one_that_it_prefers(self) -> None:
        await self.start_service()
        await self.send(Way.IMPLICIT, lambda client: client.login(BOB.user, BOB.password))
        self.assert_sent(None, "CRAM-MD5", BOB.user, octets=MESSAGE)

    async def test_wrong_passwords(self) -> None:
        await self.start_service()
        for way in Way:
            for mechanism, account in ("PLAIN", ANN), ("LOGIN", BOB), ("CRAM-MD5", BOB), ("PLAIN", Account("eve", "x")):
                with self.assertRaises(smtplib.SMTPAuthenticationError) as caught:
                    await self.send(way, self.by(mechanism, account.wrong, initial=True))
                self.assert_code(caught.exception, 535, b"5.7.8 ")
                self.assertEqual(self.logins, [(mechanism, account.user, "failed")])
                self.logins.clear()
        self.assertEqual([*self.stored_here()], [])

    async def test_another_try(self) -> None:
        """The first password of a connection may be wrong, and the second one right."""
        await self.start_service()

        def log_in(client: smtplib.SMTP) -> None:
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                self.by("PLAIN", ANN.wrong, initial=True)(client)
            self.by("PLAIN", ANN, initial=True)(client)

        await self.send(Way.STARTTLS, log_in)
        self.assertEqual(self.logins.pop(0), ("PLAIN", "ann", "failed"))
        self.assert_sent(None, "PLAIN", "ann", octets=MESSAGE)

    async def test_without(self) -> None:
        """Nobody sends without a login, and nobody logs in without TLS."""
        await self.start_service()
        for way in Way:
            with self.assertRaises(smtplib.SMTPSenderRefused) as caught:
                await self.send(way, lambda client: None)
            self.assert_code(caught.exception, 530, b"5.7.0 ")

        def talk() -> tuple[bool, int]:
            with smtplib.SMTP("127.0.0.1", self.ports[Way.STARTTLS], timeout=60) as client:
                client.ehlo("client.test")
                return client.has_extn("auth"), client.docmd("AUTH", "PLAIN AGFubgB4")[0]

        self.assertEqual(await deferToThread(talk), (False, 538))
        self.assertEqual(([*self.stored_here()], self.logins), ([], []))

    async def test_argon2(self) -> None:
        try:
            extra("argon2", "argon2")
        except MissingExtra as missing:
            raise SkipTest(str(missing)) from None
        await self.start_service(auth=[await self.accounts("argon2")])

        def log_in(client: smtplib.SMTP) -> None:
            self.assertEqual(client.esmtp_features["auth"].split(), ["PLAIN", "LOGIN"])
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                self.by("PLAIN", ANN.wrong, initial=True)(client)
            client.login(ANN.user, ANN.password)

        await self.send(Way.IMPLICIT, log_in)
        self.assertEqual(self.logins.pop(0), ("PLAIN", "ann", "failed"))
        self.assert_sent(None, "PLAIN", "ann", octets=MESSAGE)

    async def test_an_account_that_doveadm_has_made(self) -> None:
        for scheme in "SHA512-CRYPT", "SCRAM-SHA-256":
            made = await self.run_program("doveadm", "pw", "-s", scheme, "-p", ANN.password)
            self.assertEqual(made.status, 0, str(made))
            path = self.file("users", f"{ANN.user}:{made.output.strip()}\n".encode())
            await self.start_service(auth=[f"passwd:{path}"])
            await self.send(Way.STARTTLS, self.by("LOGIN", ANN, initial=True))
            self.assert_sent(None, "LOGIN", "ann", octets=MESSAGE)
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                await self.send(Way.STARTTLS, self.by("PLAIN", ANN.wrong, initial=True))
            self.logins.clear()


class ScrampTests(SMTPLibTestCase):
    """SCRAM, which smtplib has not, by the client that scramp has."""

    def by_scram(self, mechanism: str, account: Account) -> Callable[[smtplib.SMTP], object]:
        """Logs in, and sees to it that the server knows the password, too."""

        def log_in(client: smtplib.SMTP) -> object:
            binding = None
            if mechanism.endswith("-PLUS"):
                tls: Any = client.sock
                certificate = hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
                binding = ("tls-server-end-point", certificate)
            scram = ScramClient([mechanism], account.user, account.password, channel_binding=binding)
            steps = iter(
                [
                    lambda challenge: scram.get_client_first(),
                    lambda challenge: (scram.set_server_first(challenge), scram.get_client_final())[1],
                    lambda challenge: (scram.set_server_final(challenge), "")[1],
                ]
            )
            return client.auth(mechanism, lambda challenge=b"": next(steps)(challenge.decode()))

        return log_in

    async def test_mechanisms(self) -> None:
        await self.start_service()
        for way in Way:
            for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
                for mechanism in "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS":
                    await self.send(way, self.by_scram(mechanism, ANN), version=version)
                    self.assert_sent(None, mechanism, "ann", octets=MESSAGE)

    async def test_wrong_passwords(self) -> None:
        await self.start_service()
        for mechanism in "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS":
            for account in ANN.wrong, Account("eve", "x"):
                with self.assertRaises(smtplib.SMTPAuthenticationError) as caught:
                    await self.send(Way.STARTTLS, self.by_scram(mechanism, account))
                self.assert_code(caught.exception, 535, b"5.7.8 ")
                self.assertEqual(self.logins, [(mechanism, account.user, "failed")])
                self.logins.clear()

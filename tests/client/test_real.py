"""The client, and the deliveries made of it, with Postfix and Dovecot as the far side."""

import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from tests.client.real import PASSWORD, RealTestCase
from twistsmtp.client import (
    AuthError,
    ClientError,
    ConnectError,
    ConnectionLost,
    Connector,
    Credentials,
    NotOffered,
    Pool,
    Refused,
    TLSError,
    destination_of,
    send,
    send_to,
)
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.relay import Relay
from twistsmtp.wire.reply import Reply

MESSAGE = b"Subject: hello\r\n\r\n.\r\n..\r\n.dot\r\nend\r\n"
EIGHT_BIT = "Subject: hello\r\n\r\nGrüße\r\n".encode()
ADA: dict[str, Any] = {"username": "ada", "password": PASSWORD}


class PostfixTests(RealTestCase):
    """Postfix hands what it has taken to a server of ours."""

    async def arrived(self, count: int) -> list[bytes]:
        """The messages, when there are so many, without what servers have written in front of them."""
        messages = await self.memory.wait(count)
        return [each.octets[each.octets.index(b"Subject:") :] for each in messages]

    async def test_a_message(self) -> None:
        port = await self.start_postfix()
        ways: list[dict[str, Any]] = [{}, {"chunking": False}, {"tls": "required", "ca": str(self.ca)}]
        for number, settings in enumerate(ways, 1):
            result = await send(
                "ann@client.test", ["ada@mx.test", "bob@mx.test"], MESSAGE, host="127.0.0.1", port=port, **settings
            )
            self.assertEqual(len(result.accepted), 2)
            self.assertEqual((await self.arrived(number))[-1], MESSAGE)
        with self.assertRaises(TLSError):
            await send("ann@client.test", "ada@mx.test", MESSAGE, host="127.0.0.1", port=port, tls="required")
        self.assertEqual(len(self.memory.messages), 3)

    async def test_refused_recipients(self) -> None:
        port = await self.start_postfix()
        to = ["nobody@mx.test", "ada@mx.test", "eve@elsewhere.test"]
        result = await send("ann@client.test", to, EIGHT_BIT, host="127.0.0.1", port=port)
        self.assertEqual([v.reply.enhanced for v in result.verdicts], ["5.1.1", "2.0.0", "5.7.1"])
        with self.assertRaises(Refused) as caught:
            await send("ann@client.test", to[::2], EIGHT_BIT, host="127.0.0.1", port=port)
        self.assertEqual([v.reply.code for v in caught.exception.verdicts], [550, 554])
        self.assertEqual(await self.arrived(1), [EIGHT_BIT])

    async def test_large_mail(self) -> None:
        """Streamed, by chunks and by DATA; and what is too large is refused before it comes."""
        port = await self.start_postfix(message_size_limit="5000000", virtual_mailbox_limit="0")
        line = b"x" * 78 + b"\r\n"

        async def pieces() -> AsyncIterator[bytes]:
            yield MESSAGE
            for _ in range(500):
                yield line * 100

        for number, chunking in enumerate((True, False), 1):
            await send("ann@client.test", "ada@mx.test", pieces(), host="127.0.0.1", port=port, chunking=chunking)
            self.assertEqual((await self.arrived(number))[-1], MESSAGE + line * 50_000)
        for chunking in (True, False):
            with self.assertRaises(NotOffered):
                await send("a@x.test", "ada@mx.test", line * 70_000, host="127.0.0.1", port=port, chunking=chunking)
            with self.assertRaises(Refused) as caught:
                await send("a@x.test", "ada@mx.test", self.endless(), host="127.0.0.1", port=port, chunking=chunking)
            self.assertEqual(caught.exception.reply.code, 552)

    async def endless(self) -> AsyncIterator[bytes]:
        """More than anybody takes."""
        for _ in range(5000):
            yield b"x" * 998 + b"\r\n" + b"y" * 8998 + b"\r\n"

    async def test_auth(self) -> None:
        """By Dovecot, with every mechanism that it has."""
        await self.start_dovecot()
        port = await self.start_postfix(
            smtpd_sasl_auth_enable="yes", smtpd_sasl_type="dovecot", smtpd_sasl_path=str(self.home / "auth")
        )
        for mechanism in ("", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"):
            credentials = Credentials(**ADA, mechanisms=(mechanism,) if mechanism else ())
            settings: dict[str, Any] = {"credentials": credentials, "ca": str(self.ca)}
            result = await send("a@x.test", "eve@elsewhere.test", MESSAGE, host="127.0.0.1", port=port, **settings)
            self.assertEqual(result.verdicts[0].reply.code, 250, mechanism)
        log = (self.home / "log").read_text()
        self.assertIn("sasl_method=SCRAM-SHA-256, sasl_username=ada", log)
        with self.assertRaises(AuthError) as caught:
            await send(
                *("a@x.test", "eve@elsewhere.test", MESSAGE),
                host="127.0.0.1",
                port=port,
                username="ada",
                password="wrong",
                ca=str(self.ca),
            )
        self.assertEqual(caught.exception.reply.code, 535)

    async def test_a_pool(self) -> None:
        """Many messages over few connections: each arrives, and once."""
        port = await self.start_postfix()
        pool = Pool(Connector(), connections=3)
        self.addCleanup(pool.close)
        destination = destination_of("127.0.0.1", port)
        work = []
        for number in range(50):
            message = b"Subject: %d\r\n\r\ntext\r\n" % number
            work.append(Deferred.fromCoroutine(send_to(pool, destination, "a@x.test", "ada@mx.test", message)))
        await gatherResults(work)
        subjects = [octets.split()[1] for octets in await self.arrived(50)]
        self.assertEqual(sorted(map(int, subjects)), list(range(50)))
        self.assertEqual((self.home / "log").read_text().count(": connect from"), 3)

    async def test_it_is_killed(self) -> None:
        """The connection that was kept is gone, and nobody is there."""
        port = await self.start_postfix()
        pool = Pool(Connector())
        self.addCleanup(pool.close)
        destination = destination_of("127.0.0.1", port)
        await send_to(pool, destination, "a@x.test", "ada@mx.test", MESSAGE)
        await self.arrived(1)  # before it is killed it hands the message on
        self.kill_smtpd()
        await self.end(self.postfix)
        with self.assertRaises(ClientError) as caught:
            await send_to(pool, destination, "a@x.test", "ada@mx.test", MESSAGE)
        # The system may take a connection still for a process that is just going away.
        self.assertIsInstance(caught.exception, ConnectError | ConnectionLost)
        self.assertEqual(len(await self.arrived(1)), 1)

    def kill_smtpd(self) -> None:
        """Kill who has the last connection."""
        pids = re.findall(r"postfix/smtpd\[(\d+)\]: connect from", (self.home / "log").read_text())
        os.kill(int(pids[-1]), signal.SIGKILL)

    async def relay(self, port: int, options: str = "") -> int:
        """Have our server relay to Postfix; its port."""
        delivery = make_delivery(f"relay:127.0.0.1:{port}{options}")
        assert isinstance(delivery, Relay)
        self.addCleanup(delivery.stop)
        delivery.start()
        await self.until(lambda: delivery.honours)
        return await self.serve(delivery, policies=())  # type: ignore[arg-type]  # a delivery of any kind will do

    async def test_relay(self) -> None:
        """Mail goes through, with TLS, AUTH and DSN; the verdicts are Postfix's."""
        await self.start_dovecot()
        port = await self.start_postfix(
            smtpd_sasl_auth_enable="yes",
            smtpd_sasl_type="dovecot",
            smtpd_sasl_path=str(self.home / "auth"),
            smtpd_tls_auth_only="yes",
        )
        password = self.file("password", PASSWORD.encode())
        ours = await self.relay(port, f":tls=required:ca={self.ca}:username=ada:password-file={password}")
        to = ["ada@mx.test", "nobody@mx.test", "bob@mx.test"]
        result = await send(
            *("ann@client.test", to, MESSAGE),
            host="127.0.0.1",
            port=ours,
            mail_options=["RET=HDRS", "ENVID=QQ314159"],
            rcpt_options=["NOTIFY=NEVER"],
        )
        self.assertEqual([v.reply.enhanced for v in result.verdicts], ["2.0.0", "5.1.1", "2.0.0"])
        self.assertRegex(result.verdicts[0].reply.text, r"\AOk: .*queued as \w+\Z")
        self.assertEqual(await self.arrived(1), [MESSAGE])
        [message] = self.memory.messages
        self.assertIn(b"by mx.test (twistsmtp) with ESMTP id", message.octets)
        self.assertEqual(dict(message.envelope.reverse_path.options)["ENVID"], "QQ314159")
        self.assertEqual(dict(message.envelope.recipients[0].options)["NOTIFY"], "NEVER")
        log = (self.home / "log").read_text()
        self.assertIn("sasl_method=SCRAM-SHA-256", log)

    async def test_relay_while_it_is_killed(self) -> None:
        """In the middle of a message: the client is told to come again, and then has it there once."""
        port = await self.start_postfix()
        for count, options in enumerate(("", ":chunking=no"), 1):
            ours = await self.relay(port, options)

            async def pieces(*, killed: bool) -> AsyncIterator[bytes]:
                yield MESSAGE * 5000
                if killed:
                    self.kill_smtpd()
                yield MESSAGE * 5000

            with self.assertRaises(Refused) as caught:
                await send("ann@client.test", "ada@mx.test", pieces(killed=True), host="127.0.0.1", port=ours)
            self.assertEqual(caught.exception.reply.enhanced, "4.4.2")
            await send("ann@client.test", "ada@mx.test", pieces(killed=False), host="127.0.0.1", port=ours)
            self.assertEqual((await self.arrived(count))[-1], MESSAGE * 10_000)
        self.assertEqual(len(self.memory.messages), 2)

    async def test_relay_under_load(self) -> None:
        """Messages of many clients at once: nothing is lost, nothing doubled."""
        port = await self.start_postfix()
        ours = await self.relay(port, ":connections=5")
        pool = Pool(Connector(), connections=10, messages=7)
        self.addCleanup(pool.close)
        destination = destination_of("127.0.0.1", ours)
        work = []
        for number in range(60):
            message = b"Subject: %d\r\n\r\n" % number + b".text\r\n" * (number * 50)
            work.append(Deferred.fromCoroutine(send_to(pool, destination, "a@x.test", "ada@mx.test", message)))
        await gatherResults(work)
        arrived = await self.arrived(60)
        self.assertEqual(sorted(int(octets.split()[1]) for octets in arrived), list(range(60)))
        for octets in arrived:
            self.assertEqual(octets.count(b"\r\n.text"), 50 * int(octets.split()[1]))

    async def test_relay_of_large_mail(self) -> None:
        """Refused where Postfix refuses it, and passed on where it does not."""
        port = await self.start_postfix(message_size_limit="5000000", virtual_mailbox_limit="0")
        ours = await self.relay(port)
        big = MESSAGE + b"line of text\r\n" * 300_000
        await send("ann@client.test", "ada@mx.test", big, host="127.0.0.1", port=ours)
        self.assertEqual(await self.arrived(1), [big])
        with self.assertRaises(Refused) as caught:
            await send("ann@client.test", "ada@mx.test", self.endless(), host="127.0.0.1", port=ours)
        self.assertEqual(caught.exception.reply.code, 552)
        self.assertEqual(len(self.memory.messages), 1)


class DovecotTests(RealTestCase):
    """Dovecot's LMTP server."""

    def mails(self, user: str) -> list[bytes]:
        """What is in the mailbox of *user*."""
        folder = self.home / "mail" / user / "new"
        return [path.read_bytes() for path in folder.iterdir()] if folder.exists() else []

    async def test_the_client(self) -> None:
        port = await self.start_dovecot()
        for number, settings in enumerate(({"host": "127.0.0.1", "port": port}, {"path": str(self.home / "lmtp")}), 1):
            to = ["ada@mx.test", "nobody@mx.test", "bob@mx.test"]
            result = await send("ann@client.test", to, MESSAGE, lmtp=True, **settings)  # type: ignore[arg-type]
            self.assertEqual([v.reply.code for v in result.verdicts], [250, 550, 250], self.dovecot_log())
            for user in ("ada", "bob"):
                mails = self.mails(user)
                self.assertEqual(len(mails), number)
                self.assertTrue(all(each.endswith(MESSAGE.replace(b"\r\n", b"\n")) for each in mails))

    async def test_the_delivery(self) -> None:
        port = await self.start_dovecot()
        for where in (f"127.0.0.1:{port}", f"unix:{self.home}/lmtp"):
            delivery: Any = make_delivery(f"lmtp:{where}")
            self.addCleanup(delivery.stop)
            ours = await self.serve(delivery, policies=())
            to = ["ada@mx.test", "nobody@mx.test", "bob@mx.test"]
            result = await send("ann@client.test", to, MESSAGE, host="127.0.0.1", port=ours)
            self.assertEqual([v.reply.code for v in result.verdicts], [250, 550, 250])
            self.assertEqual(result.verdicts[1].reply.enhanced, "5.1.1")
        for user in ("ada", "bob"):
            mails = self.mails(user)
            self.assertEqual(len(mails), 2)
            for each in mails:
                self.assertTrue(each.startswith(b"Return-Path: <ann@client.test>\n"))
                self.assertIn(b"by mx.test (twistsmtp) with ESMTP id", each)

    async def until_all_are_told(self, to: list[str], **server: Any) -> dict[str, Reply]:
        """Send a message as a client does that sends it again to those who are one too many for it."""
        told: dict[str, Reply] = {}
        while left := [each for each in to if each not in told]:
            try:
                verdicts = (await send("ann@client.test", left, MESSAGE, **server)).verdicts
            except Refused as refused:
                verdicts = refused.verdicts
            told |= {str(each.recipient): each.reply for each in verdicts if each.reply.enhanced != "4.5.3"}
        return told

    async def test_apart(self) -> None:
        """The others have the message once, however often the client comes again for one that cannot be written."""
        await self.start_dovecot()
        (self.home / "mail" / "bob").write_text("in the way")
        delivery: Any = make_delivery(f"lmtp:unix:{self.home}/lmtp:apart=yes")
        self.addCleanup(delivery.stop)
        ours = await self.serve(delivery, policies=())
        to = ["ada@mx.test", "bob@mx.test", "eve@mx.test"]
        told = await self.until_all_are_told(to, host="127.0.0.1", port=ours)
        self.assertEqual([told[each].code // 100 for each in to], [2, 4, 2], self.dovecot_log())
        again = await self.until_all_are_told(["bob@mx.test"], host="127.0.0.1", port=ours)
        self.assertEqual(again["bob@mx.test"].code // 100, 4)
        self.assertEqual([len(self.mails(user)) for user in ("ada", "eve")], [1, 1])

    async def test_a_mailbox_that_cannot_be_written(self) -> None:
        """One recipient's trouble is not the other's, and is known behind the message only."""
        await self.start_dovecot()
        (self.home / "mail" / "bob").write_text("in the way")
        to = ["ada@mx.test", "bob@mx.test"]
        result = await send("ann@client.test", to, MESSAGE, lmtp=True, path=str(self.home / "lmtp"))
        self.assertEqual([v.reply.code // 100 for v in result.verdicts], [2, 4], self.dovecot_log())
        self.assertEqual(len(self.mails("ada")), 1)

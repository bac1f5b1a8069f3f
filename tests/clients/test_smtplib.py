"""smtplib of the standard library."""

import random
import smtplib
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.clients.kit import ClientTestCase
from twistsmtp.extensions.eightbitmime import BODY, Body
from twistsmtp.extensions.size import SIZE
from twistsmtp.limits import Limits

T = TypeVar("T")
E = TypeVar("E", bound=smtplib.SMTPException)

MESSAGE = b"From: <a@client.test>\r\nSubject: hello\r\n\r\nhello\r\n"
#: Bodies that dot-stuffing could spoil, all but the last as CRLF lines.
DOTS = (
    b".\r\n",
    b"..\r\n",
    b".\r\n.\r\n",
    b"a\r\n.\r\nb\r\n..\r\n...\r\n.c\r\nd.\r\n",
    b"\r\n\r\n.\r\n\r\n",
    b"QUIT\r\n.\r\nMAIL FROM:<x@client.test>\r\n",
)


class SMTPLibTestCase(ClientTestCase):
    """Clients in a thread."""

    def talk(self, port: int, talk: Callable[[smtplib.SMTP], T]) -> "Deferred[T]":
        """What *talk* returns; it has a connected client."""

        def run() -> T:
            with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=60) as client:
                return talk(client)

        return deferToThread(run)

    async def fails(self, port: int, error: type[E], send: Callable[[smtplib.SMTP], object]) -> E:
        """The *error* that *send* raises. The connection has to be good for another message after it."""

        def talk(client: smtplib.SMTP) -> E:
            try:
                send(client)
            except error as caught:
                client.sendmail("after@client.test", ["b@mx.test"], MESSAGE)
                return caught
            raise AssertionError(f"no {error.__name__}")

        caught = await self.talk(port, talk)
        self.assertEqual([each.octets for each in self.stored], [MESSAGE])
        self.assertEqual(str(self.memory.messages[0].envelope.reverse_path), "after@client.test")
        return caught


class SendingTests(SMTPLibTestCase):
    async def test_a_message(self) -> None:
        port = await self.serve()
        refused = await self.talk(port, lambda client: client.sendmail("a@client.test", "b@mx.test", MESSAGE))
        self.assertEqual(refused, {})
        [stored] = self.stored
        self.assertEqual(stored.octets, MESSAGE)
        self.assertEqual((stored.helo, stored.protocol, stored.recipient), ("client.test", "ESMTP", "b@mx.test"))
        [message] = self.memory.messages
        self.assertEqual(str(message.envelope.reverse_path), "a@client.test")
        self.assertEqual(message.envelope.reverse_path.get(SIZE), len(MESSAGE))
        self.assertEqual(message.email["Subject"], "hello")

    async def test_several_recipients(self) -> None:
        port = await self.serve()
        everybody = [f"r{number}@mx.test" for number in range(300)]
        await self.talk(port, lambda client: client.sendmail("a@client.test", everybody, MESSAGE))
        self.assertEqual(self.recipients(), [everybody])
        self.assertEqual([(each.octets, each.recipient) for each in self.stored], [(MESSAGE, None)])

    async def test_some_recipients_refused(self) -> None:
        port = await self.serve(limits=Limits(recipients=2))
        everybody = ["b@mx.test", "c@elsewhere.test", "no mailbox@mx.test", "postmaster", "e@MX.test"]
        refused = await self.talk(port, lambda client: client.sendmail("a@client.test", everybody, MESSAGE))
        self.assertEqual(
            {recipient: code for recipient, (code, _) in refused.items()},
            {"c@elsewhere.test": 550, "no mailbox@mx.test": 501, "e@MX.test": 452},
        )
        self.assertTrue(refused["c@elsewhere.test"][1].startswith(b"5.7.1 "))
        self.assertEqual(self.recipients(), [["b@mx.test", "postmaster"]])
        self.assertEqual([each.octets for each in self.stored], [MESSAGE])

    async def test_all_recipients_refused(self) -> None:
        port = await self.serve()
        everybody = ["c@elsewhere.test", "d@elsewhere.test"]
        error = await self.fails(
            port,
            smtplib.SMTPRecipientsRefused,
            lambda client: client.sendmail("a@client.test", everybody, MESSAGE),
        )
        self.assertEqual({to: code for to, (code, _) in error.recipients.items()}, dict.fromkeys(everybody, 550))

    async def test_many_messages_in_one_connection(self) -> None:
        port = await self.serve()

        def talk(client: smtplib.SMTP) -> None:
            for number in range(200):
                client.sendmail("", [f"r{number}@mx.test"], MESSAGE + b"%d\r\n" % number)

        await self.talk(port, talk)
        stored = self.stored
        self.assertEqual([each.octets for each in stored], [MESSAGE + b"%d\r\n" % number for number in range(200)])
        self.assertEqual([each.recipient for each in stored], [f"r{number}@mx.test" for number in range(200)])
        self.assertEqual(len({each.id for each in stored}), 200)
        self.assertEqual({message.envelope.reverse_path.mailbox for message in self.memory.messages}, {None})

    async def test_a_client_that_says_helo(self) -> None:
        port = await self.serve()

        def talk(client: smtplib.SMTP) -> tuple[int, bytes]:
            answer = client.helo("old.client.test")
            client.sendmail("a@client.test", ["b@mx.test"], MESSAGE)
            return answer

        self.assertEqual(await self.talk(port, talk), (250, b"mx.test"))
        [stored] = self.stored
        self.assertEqual((stored.helo, stored.protocol, stored.octets), ("old.client.test", "SMTP", MESSAGE))


class OctetTests(SMTPLibTestCase):
    """What is stored is what smtplib was given, octet for octet."""

    async def assert_kept(self, *messages: bytes, options: tuple[str, ...] = ()) -> None:
        port = await self.serve()

        def talk(client: smtplib.SMTP) -> None:
            for message in messages:
                client.sendmail("a@client.test", ["b@mx.test"], message, mail_options=options)

        await self.talk(port, talk)
        self.assertEqual([each.octets for each in self.stored], list(messages))

    async def test_dots(self) -> None:
        await self.assert_kept(*(b"Subject: dots\r\n\r\n" + body for body in DOTS), *DOTS)

    async def test_an_empty_message(self) -> None:
        # smtplib ends it by a CRLF of its own, and so that is the message.
        port = await self.serve()
        await self.talk(port, lambda client: client.sendmail("a@client.test", ["b@mx.test"], b""))
        self.assertEqual([each.octets for each in self.stored], [b"\r\n"])

    async def test_eight_bits(self) -> None:
        body = bytes(set(range(256)) - set(b"\r\n"))
        await self.assert_kept(b"Subject: \xe4\r\n\r\n" + body + b"\r\n", options=("BODY=8BITMIME",))
        self.assertIs(self.memory.messages[0].envelope.reverse_path.get(BODY), Body.EIGHTBITMIME)

    async def test_five_megabytes(self) -> None:
        lines = random.Random(5).randbytes(5_000_000).replace(b"\r", b".").split(b"\n")
        message = b"Subject: much\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"
        self.assertTrue(any(line.startswith(b".") for line in lines))
        await self.assert_kept(message, options=("BODY=8BITMIME",))

    async def test_text_with_bare_newlines(self) -> None:
        # smtplib mends them in text, and not in octets.
        port = await self.serve()
        await self.talk(port, lambda client: client.sendmail("a@client.test", ["b@mx.test"], "Subject: x\n\n.\ny\n"))
        self.assertEqual([each.octets for each in self.stored], [b"Subject: x\r\n\r\n.\r\ny\r\n"])

    async def test_octets_with_bare_newlines(self) -> None:
        port = await self.serve()
        error = await self.fails(
            port,
            smtplib.SMTPDataError,
            lambda client: client.sendmail("a@client.test", ["b@mx.test"], b"Subject: x\r\n\r\ny\n"),
        )
        self.assertEqual(error.smtp_code, 550)
        self.assertIn(b"5.6.0 Message holds a bare LF", bytes(error.smtp_error))  # type: ignore[arg-type]  # typeshed

    async def test_smtputf8(self) -> None:
        message = EmailMessage()
        message["From"] = "Jörg <jörg@client.test>"
        message["To"] = "Зоя <зоя@mx.test>, b@mx.test"
        message["Subject"] = "Grüße"
        message.set_content("Grüße\n.\n", cte="8bit")
        port = await self.serve()
        refused = await self.talk(port, lambda client: client.send_message(message))
        self.assertEqual(refused, {})
        expected = message.as_bytes(policy=policy.SMTPUTF8)
        self.assertIn("To: Зоя <зоя@mx.test>".encode(), expected)
        [stored] = self.stored
        self.assertEqual((stored.protocol, stored.octets), ("UTF8SMTP", expected))
        [kept] = self.memory.messages
        self.assertEqual(str(kept.envelope.reverse_path), "jörg@client.test")
        self.assertEqual(self.recipients(), [["зоя@mx.test", "b@mx.test"]])


class RefusalTests(SMTPLibTestCase):
    async def test_a_size_that_is_too_big(self) -> None:
        # smtplib says the size in MAIL.
        port = await self.serve(limits=Limits(message_size=1000))
        error = await self.fails(
            port,
            smtplib.SMTPSenderRefused,
            lambda client: client.sendmail("a@client.test", ["b@mx.test"], b"x" * 999 + b"\r\n"),
        )
        self.assertEqual((error.smtp_code, error.sender), (552, "a@client.test"))
        self.assertEqual(error.smtp_error, b"5.3.4 Message exceeds the limit of 1000 octets")

    async def test_a_message_that_is_too_big(self) -> None:
        # Without EHLO there is nothing to say the size by.
        port = await self.serve(limits=Limits(message_size=1000))

        def send(client: smtplib.SMTP) -> None:
            client.helo()
            client.sendmail("a@client.test", ["b@mx.test"], b"x" * 999 + b"\r\n")

        error = await self.fails(port, smtplib.SMTPDataError, send)
        self.assertEqual(error.smtp_code, 552)

    async def test_a_sender_that_is_none(self) -> None:
        port = await self.serve()
        error = await self.fails(
            port,
            smtplib.SMTPSenderRefused,
            lambda client: client.sendmail("a@client..test", ["b@mx.test"], MESSAGE),
        )
        self.assertEqual(error.smtp_code, 501)

    async def test_a_parameter_that_is_unknown(self) -> None:
        port = await self.serve()
        error = await self.fails(
            port,
            smtplib.SMTPSenderRefused,
            lambda client: client.sendmail("a@client.test", ["b@mx.test"], MESSAGE, mail_options=("X=1",)),
        )
        self.assertEqual(error.smtp_code, 555)

    async def test_a_connection_too_many(self) -> None:
        port = await self.serve(limits=Limits(connections_per_client=1))

        def second(_: smtplib.SMTP) -> smtplib.SMTPConnectError:
            try:
                smtplib.SMTP("127.0.0.1", port, timeout=60)
            except smtplib.SMTPConnectError as error:
                return error
            raise AssertionError("not refused")

        error = await self.talk(port, second)
        self.assertEqual((error.smtp_code, bytes(error.smtp_error)[:6]), (421, b"4.7.0 "))  # type: ignore[arg-type]  # typeshed says str


class CommandTests(SMTPLibTestCase):
    async def test_extensions(self) -> None:
        port = await self.serve()

        def talk(client: smtplib.SMTP) -> dict[str, str]:
            client.ehlo()
            return client.esmtp_features

        features = await self.talk(port, talk)
        self.assertRegex(features.pop("futurerelease"), r"\A2592000 [\dT:Z-]{20}\Z")
        self.assertEqual(
            features,
            {
                "help": "",
                "pipelining": "",
                "size": "33554432",
                "8bitmime": "",
                "chunking": "",
                "binarymime": "",
                "enhancedstatuscodes": "",
                "smtputf8": "",
                "dsn": "",
                "deliverby": "",
                "mt-priority": "",
                "no-soliciting": "",
                "rrvs": "",
                "limits": "RCPTMAX=1000 MAILMAX=100000",
            },
        )

    async def test_commands_without_mail(self) -> None:
        port = await self.serve()

        def talk(client: smtplib.SMTP) -> list[tuple[int, bytes]]:
            client.ehlo()
            return [client.noop(), client.rset(), client.verify("b@mx.test"), client.expn("list")]

        noop, rset, vrfy, expn = await self.talk(port, talk)
        self.assertEqual((noop, rset), ((250, b"2.0.0 OK"), (250, b"2.0.0 OK")))
        self.assertEqual((vrfy[0], expn[0]), (252, 502))

    async def test_help(self) -> None:
        port = await self.serve()
        everything, mail = await self.talk(port, lambda client: (client.help(), client.help("mail")))
        for verb in (b"HELO", b"EHLO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"VRFY", b"HELP", b"NOOP", b"QUIT"):
            self.assertIn(verb, everything)
        self.assertNotIn(b"EXPN", everything)  # nobody may use it
        self.assertIn(b"MAIL FROM:<reverse-path> [parameters]", mail)

    async def test_rset_gives_up_the_transaction(self) -> None:
        port = await self.serve()

        def talk(client: smtplib.SMTP) -> list[int]:
            client.ehlo()
            steps = (
                lambda: client.mail("lost@client.test"),
                lambda: client.rcpt("lost@mx.test"),
                client.rset,
                lambda: client.rcpt("b@mx.test"),
                lambda: client.mail("a@client.test"),
                lambda: client.mail("a@client.test"),
                lambda: client.rcpt("b@mx.test"),
                lambda: client.data(MESSAGE),
            )
            return [step()[0] for step in steps]

        self.assertEqual(await self.talk(port, talk), [250, 250, 250, 503, 250, 503, 250, 250])
        self.assertEqual(self.recipients(), [["b@mx.test"]])
        self.assertEqual([each.octets for each in self.stored], [MESSAGE])

"""examples/: each program is run, and a real client talks to it."""

from __future__ import annotations

import hashlib
import hmac
import re
import smtplib
from email.message import EmailMessage
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.docs import test_examples_forwarding
from tests.docs.pages import ROOT
from tests.docs.programs import ANYWHERE, EXAMPLES, ExampleTestCase, refused
from tests.docs.running import MESSAGE, in_client, send

TWISTD = "from twisted.scripts.twistd import run; run()"


class CallbackTests(ExampleTestCase):
    """Functions that mail is given to."""

    async def test_catch_all(self) -> None:
        """The function is called for the message; other domains are refused."""
        program, port = await self.start("catch_all.py")
        answers = await send(port, to=("me@localhost", "me@example.com"))
        self.assertEqual(["me@example.com"], list(answers))
        await program.says(r"'Hello' from ada@example\.net for me@localhost\n")

    async def test_checksums(self) -> None:
        """The reply tells the message's own checksum, also of one that is not kept in memory."""
        _, port = await self.start("checksums.py")
        for body in (b"Subject: one\r\n\r\ntext\r\n", b"x" * 98 + b"\r\n", 20_000 * (b"x" * 98 + b"\r\n")):
            reply = await in_client(port, partial(data, message=body))
            expected = f"2.0.0 {len(body)} octets, SHA-256 {hashlib.sha256(body).hexdigest()}"
            self.assertEqual((250, expected), reply)

    async def test_attachments(self) -> None:
        """They are saved, and no name leads out of the folder."""
        _, port = await self.start("attachments.py", str(self.folder))
        message = mail("Two")
        message.add_attachment(b"\x00\xff", "image", "png", filename="../../../tmp/a b.png")
        message.add_attachment("text\n", filename="ü" * 200)
        message.add_attachment(b"", "image", "png", filename="")
        await in_client(port, lambda client: client.send_message(message))
        [folder] = self.saved()
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.assertEqual(["00-.._.._.._tmp_a_b.png", "01-" + "_" * 100, "02-attachment"], sorted(files))
        self.assertEqual(b"\x00\xff", files["00-.._.._.._tmp_a_b.png"])
        self.assertEqual(b"text\n", files["01-" + "_" * 100])

    async def test_attachments_are_bounded(self) -> None:
        """Of a message that has too many, nothing is saved."""
        _, port = await self.start("attachments.py", str(self.folder))
        message = mail("Many")
        for _ in range(51):
            message.add_attachment("text\n")
        self.assertEqual(
            (552, "5.3.4 A message has at most 50 attachments"),
            await refused(port, lambda client: client.send_message(message)),
        )
        self.assertEqual([], self.saved())

    def saved(self) -> list[Path]:
        return list(self.folder.iterdir())

    async def test_with_a_site(self) -> None:
        """What is sent by SMTP is seen by HTTP, as the text that it is."""
        program = self.run_python(str(EXAMPLES / "with_a_site.py"), ANYWHERE, ANYWHERE)
        said = await program.says(r"\Alistening on (\d+)\nlistening on (\d+)\n")
        message = mail("<b>Hello</b>")
        await in_client(int(said[1]), lambda client: client.send_message(message))
        page = await deferToThread(lambda: urlopen(f"http://127.0.0.1:{said[2]}/").read().decode())
        self.assertIn("<h2>&lt;b&gt;Hello&lt;/b&gt;</h2><pre>A body.\n</pre>", page)
        self.assertEqual((550, "5.7.1"), await self.code(int(said[1]), "me@example.org"))

    async def code(self, port: int, to: str) -> tuple[int, str]:
        """How *to* is refused."""
        code, text = await refused(port, lambda client: client.sendmail("ada@example.net", to, MESSAGE))
        return code, text[:5]


class PolicyTests(ExampleTestCase):
    """Policies of one's own."""

    async def test_local_users(self) -> None:
        """Root is a user of this machine; somebody with no such name is refused."""
        _, port = await self.start("local_users.py")
        answers = await send(port, to=("root@localhost", "no-such-user@localhost"))
        self.assertEqual({"no-such-user@localhost": 550}, {name: code for name, (code, _) in answers.items()})

    async def test_greylist(self) -> None:
        """A stranger is deferred however often it comes, until a minute is over."""
        _, port = await self.start("greylist.py", "60")
        for _ in range(2):
            reply = await refused(port, lambda client: client.sendmail("ada@example.net", "me@localhost", MESSAGE))
            self.assertEqual((450, "4.7.1 We have not met: come again in 60 seconds"), reply)

    async def test_greylist_of_who_comes_again(self) -> None:
        """What is sent again later is taken; another sender is a stranger."""
        _, port = await self.start("greylist.py", "0.01")

        def ask(client: smtplib.SMTP, sender: str) -> int:
            client.ehlo()
            client.mail(sender)
            return client.rcpt("me@localhost")[0]

        codes = [await in_client(port, lambda client: ask(client, "ada@example.net"))]
        while codes[-1] != 250:
            codes.append(await in_client(port, lambda client: ask(client, "ada@example.net")))
        self.assertEqual(450, codes[0])
        self.assertEqual(450, await in_client(port, lambda client: ask(client, "bob@example.net")))


class OwnTests(ExampleTestCase):
    """Replies, verbs, extensions, mechanisms and deliveries of one's own."""

    async def test_own_words(self) -> None:
        """The greeting, a refusal, the reply to a message, and the end."""
        _, port = await self.start("own_words.py")

        def talk() -> list[tuple[int, bytes]]:
            client = smtplib.SMTP()
            said = [client.connect("127.0.0.1", port)]
            client.ehlo()
            client.mail("ada@example.net")
            said += [client.rcpt("sales@example.org"), client.rcpt("help@example.org"), client.data(MESSAGE)]
            return [*said, client.quit()]

        self.assertEqual(
            [
                (220, b"desk.example.org is at your service"),
                (550, b"5.1.1 Only the help desk reads mail here"),
                (250, b"2.1.5 Recipient OK"),
                (250, b"2.0.0 Your ticket is number 1"),
                (221, b"2.0.0 We are glad to help"),
            ],
            await deferToThread(talk),
        )

    async def test_time_of_day(self) -> None:
        """The verb answers, and EHLO offers it."""
        _, port = await self.start("time_of_day.py")

        def talk(client: smtplib.SMTP) -> tuple[bool, tuple[int, bytes]]:
            client.ehlo()
            return client.has_extn("xtime"), client.docmd("XTIME")

        offered, (code, text) = await in_client(port, talk)
        self.assertEqual((True, 250), (offered, code))
        self.assertRegex(text, rb"\A2\.0\.0 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\Z")

    async def test_labels(self) -> None:
        """A label gets to the function, with its type; what is none is refused."""
        program, port = await self.start("labels.py")

        def talk(client: smtplib.SMTP) -> str:
            for options in (["XLABEL=Weekly"], []):
                client.sendmail("ada@example.net", "me@localhost", MESSAGE, mail_options=options)
            return client.esmtp_features["xlabel"]

        self.assertEqual("20", await in_client(port, talk))
        await program.says(r"weekly: 'Hello'\nnone: 'Hello'\n")
        for label in ("XLABEL", "XLABEL=007", f"XLABEL={21 * 'x'}"):
            give = partial(smtplib.SMTP.sendmail, from_addr="", to_addrs="me@localhost", msg=MESSAGE)
            reply = await refused(port, partial(give, mail_options=[label]))
            self.assertEqual((501, "5.5.4 A label has 1 to 20 letters"), reply)

    async def test_census(self) -> None:
        """Messages are counted for the domains that they are for."""
        program, port = await self.start("census.py")
        answers = await send(port, to=("me@localhost", "you@localhost", "me@example.org", "me@example.com"))
        self.assertEqual(["me@example.com"], list(answers))
        match = await program.says(r"\{'(\S+)': (\d+), '(\S+)': (\d+)\}\n")
        self.assertEqual({"localhost", "example.org"}, {match[1], match[3]})
        self.assertEqual(match[2], match[4])
        self.assertGreater(int(match[2]), len(MESSAGE))

    async def test_cram_sha256(self) -> None:
        """By the command of the program's own text: who knows the password is let in, with a proof of it."""
        [command] = re.findall(r"^twistd (.*)$", (EXAMPLES / "cram_sha256.py").read_text(), re.MULTILINE)
        process = self.run_python("-c", TWISTD, "--pidfile=", *command.split(), "--listen", ANYWHERE)
        port = int((await process.says(r"\bstarting on (\d+)"))[1])

        def talk(client: smtplib.SMTP, password: bytes) -> Any:
            def proof(challenge: bytes | None = None) -> str:
                return f"ada {hmac.new(password, challenge or b'', 'sha256').hexdigest()}"

            client.ehlo()
            return client.auth("CRAM-SHA256", proof, initial_response_ok=False)

        code, _ = await in_client(port, lambda client: talk(client, b"secret"))
        self.assertEqual(235, code)
        code, _ = await refused(port, lambda client: talk(client, b"guess"))
        self.assertEqual(535, code)


class WelcomeTests(ExampleTestCase):
    async def test_welcome(self) -> None:
        """The test case passes under trial."""
        process = await self.run_python("-m", "twisted.trial", str(EXAMPLES / "test_welcome.py")).ended()
        self.assertEqual(0, process.status, str(process))
        self.assertIn("PASSED (successes=1)", process.output)

    async def test_with_pytest(self) -> None:
        """The tests pass under pytest."""
        plugin = () if entry_points(group="pytest11", name="twistsmtp") else ("-p", "twistsmtp.testing.pytest_plugin")
        options = ("-p", "no:cacheprovider", *plugin)
        process = await self.run_python("-m", "pytest", *options, str(EXAMPLES / "test_with_pytest.py")).ended()
        self.assertEqual(0, process.status, str(process))
        self.assertIn("3 passed", process.output)

    async def test_with_unittest(self) -> None:
        """The test case passes under unittest."""
        process = await self.run_python(str(EXAMPLES / "test_with_unittest.py")).ended()
        self.assertEqual(0, process.status, str(process))
        self.assertIn("Ran 1 test", str(process))


class AllTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Each example has a test, here or beside it, is on the page, and is small."""
        modules = (globals(), vars(test_examples_forwarding))
        tests = {name for module in modules for each in module.values() for name in dir(each) if name[:5] == "test_"}
        examples = {path.stem: path.read_text().splitlines() for path in EXAMPLES.glob("*.py")}
        self.assertEqual(set(), {f"test_{name.removeprefix('test_')}" for name in examples} - tests)
        page = (ROOT / "docs" / "examples.rst").read_text()
        shown = re.findall(r"^\.\. literalinclude:: \.\./examples/(\w+)\.py$", page, re.MULTILINE)
        self.assertEqual(sorted(examples), sorted(shown))
        for name, lines in examples.items():
            self.assertLess(len(lines), 40, name)


def mail(subject: str) -> EmailMessage:
    """A message for me@localhost."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ada@example.net", "me@localhost", subject
    message.set_content("A body.\n")
    return message


def data(client: smtplib.SMTP, message: bytes) -> tuple[int, str]:
    """The reply to *message*."""
    client.ehlo()
    client.mail("ada@example.net")
    client.rcpt("me@localhost")
    code, text = client.data(message)
    return code, text.decode()

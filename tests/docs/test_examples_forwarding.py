"""examples/ that hand mail on: to a program, a web server, Maildirs, another server, Dovecot."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import smtplib
import ssl
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.clients.kit import Process, program, start
from tests.docs.programs import ExampleTestCase, refused
from tests.docs.running import MESSAGE, in_client, send
from twistsmtp import Memory, RelayRule, SMTPFactory

#: What stands behind the fields that servers have written.
SENT = MESSAGE.encode()
PASSWORD = "correct horse"


class ProgramTests(ExampleTestCase):
    #: Writes standard input to a file; nobody is a mailbox that is not there.
    TAKE = """\
import sys
if sys.argv[1] == "nobody":
    sys.exit(67)
with open(sys.argv[1], "xb") as file:
    file.write(sys.stdin.buffer.read())
"""

    async def test_to_program(self) -> None:
        """A program has the message, with LF line ends; its exit status is what the client is told."""
        script = self.write("take.py", self.TAKE)
        _, port = await self.start("to_program.py", f"{sys.executable} {script} {{local}}")
        self.assertEqual({}, await send(port, to=("one@localhost", "two@localhost")))
        for name in ("one", "two"):
            self.assertTrue((self.folder / name).read_bytes().endswith(SENT.replace(b"\r\n", b"\n")))
        code, _ = await refused(port, lambda client: client.sendmail("", "nobody@localhost", MESSAGE))
        self.assertEqual(550, code)


class Hook(Resource):
    """Takes what is posted for me@localhost."""

    def __init__(self) -> None:
        super().__init__()
        self.isLeaf = True
        self.posted: list[tuple[dict[str, str], bytes]] = []

    def render_POST(self, request: Any) -> bytes:  # noqa: N802  # Twisted's name
        headers = request.requestHeaders.getAllRawHeaders()
        fields = {name.decode().lower(): values[0].decode() for name, values in headers}
        self.posted.append((fields, request.content.read()))
        request.setHeader("Connection", "close")  # so that none is left when the test has ended
        request.setResponseCode(200 if fields["x-envelope-to"] == "me@localhost" else 404)
        return b""


class WebhookTests(ExampleTestCase):
    async def test_webhook(self) -> None:
        """The web server has the message, signed; what it has no page for is refused."""
        hook, secret = Hook(), "correct horse battery"
        web = await self.listen(Site(hook))
        _, port = await self.start("webhook.py", f"http://127.0.0.1:{web}/mail", self.write("secret", secret))
        self.assertEqual({}, await send(port))
        [(fields, body)] = hook.posted
        self.assertTrue(body.endswith(SENT))
        self.assertEqual("ada@example.net", fields["x-envelope-from"])
        signed = "\n".join(fields[name] for name in ("x-timestamp", "x-envelope-from", "x-envelope-to"))
        digest = hmac.new(secret.encode(), f"{signed}\n".encode() + body, hashlib.sha256).hexdigest()
        self.assertEqual(f"sha256={digest}", fields["x-signature"])
        code, _ = await refused(port, lambda client: client.sendmail("", "you@localhost", MESSAGE))
        self.assertEqual(550, code)


class AccountsTestCase(ExampleTestCase):
    """Servers that know Ada, over TLS alone."""

    async def start_with_ada(self, name: str, *arguments: str) -> int:
        """Start an example.

        :returns: its port.
        """
        accounts = str(self.folder / "accounts")
        passwd = ["-m", "twistsmtp.passwd", "--stdin", "--scheme", "scram-sha-256", accounts, "ada"]
        made = await self.run_python(*passwd, stdin=f"{PASSWORD}\n".encode()).ended()
        self.assertEqual(0, made.status, str(made))
        self.context = ssl.create_default_context(cafile=self.authorities)
        _, port = await self.start(name, self.certificate("mail.example.org", "127.0.0.1"), accounts, *arguments)
        return port

    def as_ada(self, talk: Callable[[smtplib.SMTP], Any]) -> Callable[[smtplib.SMTP], Any]:
        """*talk*, once Ada has logged in."""

        def logged_in(client: smtplib.SMTP) -> Any:
            client.starttls(context=self.context)
            client.login("ada", PASSWORD)
            return talk(client)

        return logged_in


class MailboxTests(AccountsTestCase):
    async def test_mailboxes(self) -> None:
        """Ada writes to Bob, under her own address; and nobody else does."""
        inbox = self.folder / "mail" / "bob" / "new"
        for name in ("new", "cur", "tmp"):
            (inbox.parent / name).mkdir(parents=True)
        port = await self.start_with_ada("mailboxes.py", str(self.folder / "mail"))

        def write(sender: str, to: str) -> Callable[[smtplib.SMTP], Any]:
            return lambda client: client.sendmail(sender, to, MESSAGE)

        await in_client(port, self.as_ada(write("ada@example.org", "bob@example.org")))
        [path] = inbox.iterdir()
        self.assertTrue(path.read_bytes().endswith(SENT))
        self.assertIn(b" with ESMTPSA id ", path.read_bytes())
        for sender, to, code in (
            ("eve@example.org", "bob@example.org", 553),
            ("ada@example.org", "eve@example.org", 550),
            ("ada@example.org", "bob@example.net", 550),
        ):
            self.assertEqual(code, (await refused(port, self.as_ada(write(sender, to))))[0], (sender, to))
        code, _ = await refused(port, write("ada@example.org", "bob@example.org"))
        self.assertEqual(530, code)


class RelayTests(AccountsTestCase):
    """The far side is another server, in this process."""

    async def far_side(self) -> tuple[Memory, int]:
        """What it keeps, and its port. It takes mail for one domain."""
        memory = Memory()
        factory = SMTPFactory(memory, policies=[RelayRule(["far.example"])])
        self.addCleanup(factory.shutdown, 0.1)
        return memory, await self.listen(factory)

    async def test_submission(self) -> None:
        """The smarthost has what a user sends; its word is what the user is told; others are told to log in."""
        memory, far = await self.far_side()
        port = await self.start_with_ada("submission.py", f"relay:127.0.0.1:{far}:tls=none")
        to = ["bob@far.example", "bob@elsewhere.example"]
        answers = await in_client(port, self.as_ada(lambda client: client.sendmail("ada@example.org", to, MESSAGE)))
        self.assertEqual({"bob@elsewhere.example": 550}, {name: code for name, (code, _) in answers.items()})
        [message] = memory.messages
        self.assertEqual(["bob@far.example"], [str(each) for each in message.envelope.recipients])
        self.assertTrue(message.octets.endswith(SENT))
        code, _ = await refused(port, lambda client: client.sendmail("ada@example.org", to, MESSAGE))
        self.assertEqual(530, code)

    async def test_mailing_list(self) -> None:
        """Each member has what a member writes, from the list; others may not write, and there are no other lists."""
        memory, far = await self.far_side()
        members = ["ada@far.example", "bob@far.example"]
        _, port = await self.start("mailing_list.py", "127.0.0.1", str(far), ",".join(members))
        self.assertEqual({}, await send(port, sender=members[0], to=("friends@example.org",)))
        [message] = memory.messages
        self.assertEqual(members, [str(each) for each in message.envelope.recipients])
        self.assertEqual("friends-owner@example.org", str(message.envelope.reverse_path))
        self.assertTrue(message.octets.endswith(SENT))
        for sender, to, code in (
            ("eve@far.example", "friends@example.org", "5.7.2"),
            ("", "friends@example.org", "5.7.2"),
            (members[0], "foes@example.org", "5.1.1"),
        ):
            _, text = await refused(port, partial(smtplib.SMTP.sendmail, from_addr=sender, to_addrs=to, msg=MESSAGE))
            self.assertEqual(code, text[:5])
        self.assertEqual(1, len(memory.messages))

    async def test_mailing_list_with_a_member_who_is_refused(self) -> None:
        """Nobody gets the message, and the client knows."""
        memory, far = await self.far_side()
        members = ["ada@far.example", "bob@elsewhere.example"]
        _, port = await self.start("mailing_list.py", "127.0.0.1", str(far), ",".join(members))
        code, _ = await refused(port, lambda client: client.sendmail(members[0], "friends@example.org", MESSAGE))
        self.assertEqual((550, []), (code, memory.messages))

    async def test_two_names(self) -> None:
        """A client that looks at the certificate finds the name that it wants, and is refused another one."""
        names = ("mx.example.org", "mx.example.net")
        context = ssl.create_default_context(cafile=self.authorities)
        process, port = await self.start("two_names.py", *map(self.certificate, names))

        def talk(client: smtplib.SMTP, name: str) -> None:
            client._host = name  # type: ignore[attr-defined]  # what starttls() has as the server's name
            client.starttls(context=context)
            client.sendmail("ada@example.net", "me@localhost", MESSAGE)

        for name in names:
            await in_client(port, partial(talk, name=name))
            await process.says(f"by way of {name}: 'Hello'\n")
        failure = in_client(port, partial(talk, name="mx.example.com"))
        await self.assertFailure(failure, ssl.SSLCertVerificationError)


class DovecotTests(ExampleTestCase):
    """A real Dovecot, with a configuration and a folder of its own."""

    #: Its users' files belong to nobody.
    NOBODY = 65534
    CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stdout
protocols = lmtp
ssl = no
auth_username_format = %Ln
postmaster_address = postmaster@localhost
mail_location = maildir:~/Maildir
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
"""

    async def start_dovecot(self) -> Path:
        """Start it, with one user.

        :returns: its folder.
        """
        dovecot = program("dovecot")
        if os.geteuid() != 0:
            raise SkipTest("Dovecot is to be started by root")
        if not Path("/usr/lib/dovecot/lmtp").exists():
            raise SkipTest("dovecot-lmtpd is not installed")
        folder = Path(tempfile.mkdtemp(prefix="dovecot"))  # a socket's path is short
        self.addCleanup(shutil.rmtree, folder)
        folder.chmod(0o755)
        home = folder / "me"
        home.mkdir()
        os.chown(home, self.NOBODY, self.NOBODY)
        (folder / "users").write_text(f"me::{self.NOBODY}:{self.NOBODY}::{home}\n")
        (folder / "dovecot.conf").write_text(self.CONFIGURATION.format(folder=folder))
        process = start(self, [dovecot, "-F", "-c", str(folder / "dovecot.conf")], folder=self.folder)

        def stop() -> Deferred[Process]:
            process.signal("TERM")
            return process.ended()

        await process.says("starting up for lmtp")
        self.addCleanup(stop)
        return folder

    async def test_to_dovecot(self) -> None:
        """Dovecot keeps a message for its user; whom it does not know the client is told that it does not."""
        folder = await self.start_dovecot()
        _, port = await self.start("to_dovecot.py", str(folder / "lmtp"))
        answers = await send(port, to=("me@localhost", "you@localhost", "me@example.com"))
        self.assertEqual({"you@localhost", "me@example.com"}, {*answers})
        self.assertIn(b"User doesn't exist", answers["you@localhost"][1])
        [path] = (folder / "me" / "Maildir" / "new").iterdir()
        self.assertTrue(path.read_bytes().replace(b"\r\n", b"\n").endswith(SENT.replace(b"\r\n", b"\n")))

"""docs/deliveries.rst: its deliveries take mail, and its plugin is found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT, Client, block
from twistsmtp.assembly import make_factories
from twistsmtp.config import load
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.maildir import Maildir
from twistsmtp.delivery.mbox import Mbox
from twistsmtp.delivery.memory import Memory
from twistsmtp.delivery.program import Program
from twistsmtp.delivery.route import Route
from twistsmtp.delivery.tee import Tee
from twistsmtp.delivery.webhook import Webhook, signature
from twistsmtp.factory import SMTPFactory
from twistsmtp.wire.grammar import parse_mailbox

PAGE = "deliveries.rst"
COMMANDS = ("EHLO client", "MAIL FROM:<ada@example.net>")
#: Recipients of the page's routes.
ROUTED = ("x@example.net", "lists+x@example.org", "abuse@example.org", "x@example.org")
BODY = ("Subject: Hello", "", "..dotted", ".")


def run_block(name: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": name}
    exec(block(PAGE, name).text, names)
    return names


class Talking(SynchronousTestCase):
    """A client that is connected to a server."""

    def talk(self, *lines: str) -> list[str]:
        """The codes of what the server says to *lines*."""
        for line in lines:
            self.client.say(line)
        return [line[:3] for line in self.client.hear()]

    def connect(self, factory: SMTPFactory) -> None:
        self.client = Client(factory)
        self.addCleanup(self.client.leave)
        self.talk(*COMMANDS)


class DeliveryTests(Talking):
    """The deliveries that are there."""

    def test_maildir(self) -> None:
        """It can be made as the page has it."""
        self.assertIsInstance(run_block("maildir")["delivery"], Maildir)

    def test_made(self) -> None:
        """The others can, too; those that wrap some have what the page says."""
        self.assertIsInstance(run_block("program")["delivery"], Program)
        tee = run_block("tee")["delivery"]
        self.assertEqual([Maildir, Program], [type(each) for each in tee.deliveries])
        route = run_block("route")["delivery"]
        self.assertEqual([Memory, Discard, Memory], [type(each) for each in route.deliveries])

    def test_configured(self) -> None:
        """The files that the page shows make the deliveries that it says, but for where they are."""
        folder = Path(self.mktemp()).absolute()
        (folder / "etc" / "twistsmtp").mkdir(parents=True)
        (folder / "etc" / "twistsmtp" / "webhook").write_text("a secret of this test")
        made = {}
        for name in ("program", "webhook", "tee", "route"):
            path = folder / f"{name}.toml"
            path.write_text(re.sub("(?<=[:=])/(srv|etc|var)", rf"{folder}/\1", block(PAGE, f"{name}-toml").text))
            made[name] = make_factories(load({}, str(path)), None, MemoryReactorClock())[0].delivery
        self.assertEqual([Program, Webhook, Tee, Route], [type(each) for each in made.values()])
        tee, route = made["tee"], made["route"]
        assert isinstance(tee, Tee) and isinstance(route, Route)
        self.assertEqual([Webhook, Maildir], [type(each) for each in tee.deliveries])
        found = [route.find(parse_mailbox(each), "mx.example.org") for each in ROUTED]
        self.assertEqual([Mbox, Program, Tee, Maildir], [type(each) for each in found])

    def test_webhook_check(self) -> None:
        """What the page has a web server check is what we sign."""
        is_ours, secret = run_block("webhook-check")["is_ours"], b"a secret of this test"
        headers = {"X-Timestamp": "1", "X-Envelope-From": "a@b.example", "X-Envelope-To": "c@d.example"}
        headers["X-Signature"] = signature(secret, "1", "a@b.example", "c@d.example", lambda: [b"bo", b"dy"])
        self.assertTrue(is_ours(secret, headers, b"body"))
        self.assertFalse(is_ours(secret, headers, b"other"))
        self.assertFalse(is_ours(secret, headers | {"X-Envelope-To": "e@f.example"}, b"body"))

    def test_twisted_mail(self) -> None:
        """What was written for twisted.mail takes a message, and refuses as it always did."""
        names = run_block("twisted-mail")
        printed: list[str] = []
        names["print"] = printed.append
        self.connect(names["factory"])
        self.assertEqual(["550", "250", "354"], self.talk("RCPT TO:<ada@here>", "RCPT TO:<console@here>", "DATA"))
        self.assertEqual(["250"], self.talk(*BODY))
        self.assertEqual(["Received: by the console\nSubject: Hello\n\n.dotted"], printed)


class FilesTests(Talking):
    """The page's own delivery."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.connect(SMTPFactory(run_block("files-delivery")["Files"](str(self.folder)), reactor=Clock()))

    def test_keeps(self) -> None:
        """A message is one file, whole, with the Received field in front."""
        self.assertEqual(["550", "250", "354"], self.talk("RCPT TO:<ada@here>", "RCPT TO:<Reports@here>", "DATA"))
        self.assertEqual(["250"], self.talk(*BODY))
        [path] = self.folder.iterdir()
        self.assertEqual(".eml", path.suffix)
        content = path.read_bytes()
        self.assertTrue(content.startswith(b"Received: "))
        self.assertTrue(content.endswith(b"\r\nSubject: Hello\r\n\r\n.dotted\r\n"))

    def test_abort(self) -> None:
        """Of a message that does not end nothing is left; while it comes there is a file."""
        self.talk("RCPT TO:<alerts@here>", "DATA", *BODY[:-1])
        self.assertEqual([".part"], [path.suffix for path in self.folder.iterdir()])
        self.client.leave()
        self.assertEqual([], list(self.folder.iterdir()))

    def test_failure(self) -> None:
        """A file that cannot be made is 451, and the connection lives on."""
        self.folder.rmdir()
        self.assertEqual(["250", "451"], self.talk("RCPT TO:<alerts@here>", "DATA"))
        self.assertEqual(1, len(self.flushLoggedErrors(FileNotFoundError)))
        self.assertEqual(["250"], self.talk("NOOP"))


class PluginTests(SynchronousTestCase):
    """The plugin of the page, in a package of its own."""

    def test_is_found(self) -> None:
        """`make_delivery` makes the delivery that the page's command line names."""
        folder = Path(self.mktemp()).absolute()
        for name in ("files-delivery", "delivery-plugin"):
            path = folder / self.caption(name)
            path.parent.mkdir(parents=True)
            path.write_text(block(PAGE, name).text)
        (folder / "yourpackage" / "__init__.py").touch()
        delivery = block(PAGE, "delivery-plugin-command").text.split()[-1]
        code = (
            "import sys; from twistsmtp.delivery.find import make_delivery\n"
            "delivery = make_delivery(sys.argv[1]); print(type(delivery).__module__, delivery.folder)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, delivery],
            env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(("yourpackage.files /srv/reports\n", ""), (done.stdout, done.stderr))

    def caption(self, name: str) -> str:
        """Where the page says that a file is."""
        text = (ROOT / "docs" / PAGE).read_text()
        return text.split(f":name: {name}\n   :caption: ")[1].split("\n")[0]

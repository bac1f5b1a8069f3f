"""docs/extending.rst adds an extension in one file: here that file is taken from the page, and put to work."""

from __future__ import annotations

import importlib
import sys
from base64 import b64decode, b64encode
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import Client, block, hold
from twistsmtp.delivery.api import DeliveryTransaction, ReversePath, Session
from twistsmtp.delivery.discard import Discard
from twistsmtp.envelope import Parameter
from twistsmtp.extensions import load_extensions
from twistsmtp.factory import SMTPFactory
from twistsmtp.options import Options
from twistsmtp.verb import Extension

PAGE = "extending.rst"


def put_package(case: SynchronousTestCase, **modules: str) -> None:
    """Put `yourpackage`, which holds the page's files, where Python finds it.

    :param modules: the names of the blocks by those of the modules.
    """
    folder = Path(case.mktemp())
    package = folder / "yourpackage"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for module, name in modules.items():
        (package / f"{module}.py").write_text(block(PAGE, name).text)
    case.patch(sys, "path", [str(folder), *sys.path])
    case.addCleanup(forget_package)
    importlib.invalidate_caches()


def forget_package() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "yourpackage"]:
        del sys.modules[name]


class Labels(Discard):
    """Notes the label of each message."""

    def __init__(self, parameter: Parameter[str]) -> None:
        self.parameter = parameter
        self.labels: list[str] = []

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        self.labels.append(reverse_path.get(self.parameter))
        return super().begin(session, reverse_path)


class ExtensionTests(SynchronousTestCase):
    """The file of the page."""

    def setUp(self) -> None:
        put_package(self, xlabel="extension")

    def test_is_short(self) -> None:
        """It is what the page promises: a few lines of code."""
        code = [line for line in block(PAGE, "extension").text.splitlines() if line.strip()]
        self.assertLess(len(code), 40)

    def test_conversation(self) -> None:
        """With the factory of the page, the conversation is as the page shows it."""
        names: dict[str, SMTPFactory] = {}
        exec(block(PAGE, "extension-factory").text, names)
        factory = names["factory"]
        self.assertEqual(*hold(block(PAGE, "extension-conversation").text, factory))

    def test_delivery_reads_the_parameter(self) -> None:
        """A delivery has the label, and the default where the client gave none."""
        module = importlib.import_module("yourpackage.xlabel")
        delivery = Labels(module.LABEL)
        client = Client(SMTPFactory(delivery, extensions=[module.extension()], reactor=Clock()))
        for line in ("EHLO client", "MAIL FROM:<> XLABEL=Weekly", "RSET", "MAIL FROM:<>"):
            client.say(line)
        self.assertEqual(["Weekly", ""], delivery.labels)

    def test_command_line(self) -> None:
        """The command line of the page takes it in, by the name of its module, behind those of ours."""
        options = Options()
        options.parseOptions(block(PAGE, "extension-command").text.split()[4:])
        extensions = load_extensions(options.config.extensions)
        self.assertIsInstance(extensions[-1], Extension)
        self.assertEqual(["pipelining", "size", "xlabel"], [each.name for each in extensions])

    def test_it_is_the_extension(self) -> None:
        """Without it the server knows none of this."""
        client = Client(SMTPFactory(Discard(), reactor=Clock()))
        client.hear()
        client.say("EHLO client")
        self.assertNotIn("XLABEL", " ".join(client.hear()))
        client.say("XLABEL")
        client.say("MAIL FROM:<> XLABEL=weekly")
        self.assertEqual(["500", "555"], [line[:3] for line in client.hear()])


class MechanismTests(SynchronousTestCase):
    """The mechanism of the page."""

    def setUp(self) -> None:
        put_package(self, otp="mechanism", codes="mechanism-checker")
        names: dict[str, SMTPFactory] = {}
        exec(block(PAGE, "mechanism-factory").text, names)
        self.clock = Clock()
        self.patch(names["factory"], "_reactor", self.clock)
        self.client = Client(names["factory"])

    def number(self) -> int:
        """The number that the server wants a code for."""
        self.client.say("EHLO client")
        self.assertIn("250-AUTH X-CODE", self.client.hear())
        self.client.say("AUTH X-CODE " + b64encode(b"ada").decode())
        (challenge,) = self.client.hear()
        self.assertEqual(challenge[:4], "334 ")
        return int(b64decode(challenge[4:]).decode().rpartition(" ")[2])

    def answer(self, code: str) -> list[str]:
        self.client.say(b64encode(code.encode()).decode())
        return [line[:9] for line in self.client.hear()]

    def test_right(self) -> None:
        self.assertEqual(self.answer(str(1000 + self.number())), ["235 2.7.0"])
        self.assertEqual(self.client.protocol.session.identity, "ada")

    def test_not_a_code(self) -> None:
        self.number()
        self.assertEqual(self.answer("letters"), ["501 5.5.2"])

    def test_wrong(self) -> None:
        self.number()
        self.assertEqual(self.answer("1"), [])
        self.clock.advance(1)
        self.assertEqual([line[:9] for line in self.client.hear()], ["535 5.7.8"])

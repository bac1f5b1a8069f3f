"""How extensions are found, and one of one's own."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support import Server
from twistsmtp.extensions import DEFAULT, load_extensions
from twistsmtp.session import Session
from twistsmtp.verb import Extension, Verb
from twistsmtp.wire.reply import Reply


class NamesTests(SynchronousTestCase):
    def test_tests_are_named_after_what_they_are_for(self) -> None:
        """As CONTRIBUTING.md has it: those of an extension bear the number of an RFC."""
        for each in DEFAULT:
            modules = sorted(Path(__file__).parent.glob(f"test_{each}*.py"))
            names = [name for module in modules for name in re.findall(r"def (test_\w+)", module.read_text())]
            self.assertTrue(names, each)
            self.assertEqual([name for name in names if not re.match(r"test_rfc\d{4}_", name)], [], each)


class LoadTests(SynchronousTestCase):
    def test_ours_by_their_short_names(self) -> None:
        self.assertEqual(tuple(each.name for each in load_extensions()), DEFAULT)
        self.assertEqual(
            [each.keyword for each in load_extensions(["pipelining", "smtputf8"])], ["PIPELINING", "SMTPUTF8"]
        )

    def test_in_the_order_in_which_they_are_named(self) -> None:
        self.assertEqual([each.name for each in load_extensions(reversed(DEFAULT))], list(reversed(DEFAULT)))

    def test_changes_to_the_default_ones(self) -> None:
        made = [each.name for each in load_extensions(["-etrn", "+etrn", "-dsn"])]
        self.assertEqual(made, [*(name for name in DEFAULT if name not in ("etrn", "dsn")), "etrn"])
        self.assertIn("'xclient'", str(self.assertRaises(ValueError, load_extensions, ["-xclient"])))
        self.assertIn("or as changes", str(self.assertRaises(ValueError, load_extensions, ["-etrn", "dsn"])))

    def test_any_other_by_its_path(self) -> None:
        module: Any = ModuleType("tests.extensions.made")
        made = Extension(name="made", rfc="none", keyword="XMADE")
        module.extension = lambda: made
        self.patch(sys, "modules", {**sys.modules, module.__name__: module})
        self.assertEqual(load_extensions([module.__name__]), (made,))

    def test_a_name_that_is_none_is_named(self) -> None:
        for name in (
            "nonsense",
            "no.such.module",
            "",
            ".size",
            "size.",
            "a..b",
            "twistsmtp.extensions",
            "os.path",
            "api",
        ):
            self.assertIn(repr(name)[1:-1], str(self.assertRaises(ValueError, load_extensions, [name])), name)


class OwnTests(SynchronousTestCase):
    """A verb, a keyword in the reply to EHLO, and a reply, and nothing else is touched."""

    def test_a_made_up_extension(self) -> None:
        def run(session: Session, text: str) -> Reply:
            return Reply(250, "2.0.0", f"{session.helo} says {text}")

        say: Verb[str] = Verb(
            name="XSAY", syntax="XSAY text", help="Say it.", parse=lambda session, text: text, run=run
        )
        offer = Extension(
            name="say",
            rfc="none",
            keyword=lambda session: None if session.client == "192.0.2.9" else f"XSAY {session.client}",
            verbs=(say,),
        )
        server = Server(extensions=[*load_extensions(), offer])
        client = server.connect()
        client.read()
        self.assertTrue(client.say("EHLO client.test")[0].endswith("\r\n250-XSAY 192.0.2.1\r\n250 HELP"))
        self.assertEqual(client.say("xsay  Hello World "), ["250 2.0.0 client.test says Hello World"])
        self.assertEqual(client.say("HELP XSAY"), ["214-2.0.0 XSAY text\r\n214 2.0.0 Say it."])
        other = server.connect("192.0.2.9")
        other.read()
        self.assertNotIn("XSAY", other.say("EHLO client.test")[0])

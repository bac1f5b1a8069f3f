"""docs/accounts.rst: its table has the names that there are, its command and its checker work."""

import importlib
import shlex
import sqlite3
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import twisted.plugins
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.strcred import findCheckerFactory, makeChecker
from twisted.plugin import pluginPackagePaths
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.checkers.kit import MADE, NEEDS, PASSWORD, SHA1, need, refused
from tests.docs.pages import ROOT, block
from twistsmtp import passwd
from twistsmtp.checkers.hashes import parse_hash
from twistsmtp.sasl import MECHANISMS

PAGE = "accounts.rst"
TEXT = (ROOT / "docs" / PAGE).read_text()


def caption(name: str) -> str:
    """Where the page says that a file is."""
    return TEXT.split(f":name: {name}\n   :caption: ")[1].split("\n")[0]


class TableTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for name in ("passwd", "htpasswd", "http", "pam", "certificate"):
            self.assertIn(f"   * - ``{name}:{findCheckerFactory(name).argStringFormat}``\n", TEXT)
        for form in findCheckerFactory("oauth").argStringFormat.partition(",")[0].split(" or "):
            self.assertIn(f"   * - ``oauth:{form}`` …\n", TEXT)

    def test_mechanisms(self) -> None:
        """All that there are, each once."""
        rows = TEXT.split("   * - Mechanism\n")[1].split("\n\n")[0].split("   * - ")[1:]
        self.assertEqual(sorted(MECHANISMS), sorted(name for row in rows for name in row.split("\n")[0].split(", ")))

    def test_schemes(self) -> None:
        """What the page says that hashes begin with is what those begin with that others made."""
        need(*NEEDS.values())
        rows = TEXT.split("   * - Begins with\n")[1].split("\n\n")[0]
        begins = [each.strip("` ,") for each in rows.replace("\n", " ").split("``") if each[:1] in ("$", "{", "S")]
        for scheme, text in MADE.values():
            bare = text.partition("}")[2] if "}$" in text else text
            self.assertTrue(any(bare.startswith(each) for each in begins), (scheme, begins))
            self.assertEqual(scheme, parse_hash(bare).scheme)


class CommandTests(SynchronousTestCase):
    def test_add(self) -> None:
        """The conversation on the page is held, with the file in another place."""
        command, *lines = block(PAGE, "add").text.splitlines()
        words = shlex.split(command)
        self.assertEqual(["$", "python", "-m", "twistsmtp.passwd"], words[:4])
        path = self.mktemp()
        with mock.patch("getpass.getpass", return_value=PASSWORD) as asked, mock.patch("sys.stdout") as out:
            self.assertEqual(0, passwd.main([path, *words[5:]]))
        said = [call.args[0].strip() for call in (*asked.call_args_list, *out.write.call_args_list)]
        self.assertEqual(lines, said)
        self.assertTrue(Path(path).read_text().startswith("ada@example.org:"))


class OwnCheckerTests(TestCase):
    """The checker of the page, in a package of its own, and its plugin."""

    def setUp(self) -> None:
        need("argon2")
        folder = Path(self.mktemp()).absolute()
        for name in ("database-checker", "checker-plugin"):
            path = folder / caption(name)
            path.parent.mkdir(parents=True)
            path.write_text(block(PAGE, name).text)
        before = set(sys.modules)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - before])
        self.patch(sys, "path", [str(folder), *sys.path])
        self.patch(twisted.plugins, "__path__", [*twisted.plugins.__path__, *pluginPackagePaths("twisted.plugins")])
        importlib.invalidate_caches()
        self.accounts = folder / "accounts.sqlite"
        with sqlite3.connect(self.accounts) as connection:
            connection.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, hash TEXT)")
            connection.execute("INSERT INTO accounts VALUES ('ada', ?)", [SHA1])
        connection.close()

    async def test_checks(self) -> None:
        checker: Any = makeChecker(f"database:{self.accounts}")
        self.addCleanup(checker.pool.close)
        self.assertEqual((IUsernamePassword,), checker.credentialInterfaces)
        ada = UsernamePassword(b"ada", PASSWORD.encode())
        self.assertEqual(b"ada", await checker.requestAvatarId(ada))
        await refused(checker.requestAvatarId(UsernamePassword(b"ada", b"wrong")))
        await refused(checker.requestAvatarId(UsernamePassword(b"eve", PASSWORD.encode())))


class PortalTests(TestCase):
    async def test_portal(self) -> None:
        """Users of both checkers log in by it."""
        names: dict[str, Any] = {}
        exec(block(PAGE, "portal").text, names)
        path = Path(self.mktemp())
        path.write_text(f"ada:{SHA1}\n")
        portal = names["make_portal"](None, str(path))
        for name, password in (("ada", PASSWORD), ("test", "test")):
            credentials = UsernamePassword(name.encode(), password.encode())
            self.assertEqual(name.encode(), await portal.checkers[IUsernamePassword].requestAvatarId(credentials))

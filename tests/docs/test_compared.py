"""The table of what other servers do: it has a word on each extension, for each of them."""

import tomllib
from importlib import import_module
from pkgutil import iter_modules

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT
from twistsmtp import extensions

FACTS = tomllib.loads((ROOT / "docs" / "_ext" / "peers.toml").read_text())


class FactsTests(SynchronousTestCase):
    def test_all_extensions(self) -> None:
        """Those of the package, and no other: a new one is to be looked up before it is there."""
        names = {module.name for module in iter_modules(extensions.__path__)}
        modules = {name: import_module(f"{extensions.__name__}.{name}") for name in names}
        there = {name for name, module in modules.items() if hasattr(module, "extension") or hasattr(module, name)}
        self.assertLessEqual({*extensions.DEFAULT, "xclient", "xforward"}, there)
        self.assertEqual(set(FACTS["extensions"]), there)

    def test_in_the_order_of_ehlo(self) -> None:
        default = [name for name in FACTS["extensions"] if name in extensions.DEFAULT]
        self.assertEqual(default, list(extensions.DEFAULT))

    def test_a_word_on_each(self) -> None:
        others = (each["servers"] for name in ("settings", "left_out") for each in FACTS[name].values())
        rows = [*FACTS["extensions"].values(), *FACTS["verbs"].values(), *others]
        for row in rows:
            self.assertEqual(len(row), len(FACTS["server"]), row)
            self.assertLessEqual(set(row), {"yes", "setting", "no"}, row)

    def test_what_was_looked_at(self) -> None:
        for server in FACTS["server"]:
            self.assertTrue(server["name"] and server["version"] and server["how"], server)

    def test_what_is_left_out_says_why(self) -> None:
        page = (ROOT / "docs" / "extensions.rst").read_text()
        for name, left_out in FACTS["left_out"].items():
            self.assertIn(f"   * - {name}\n     - {left_out['rfc']}\n     - Left out.", page)

"""A directive, ``peers``: the extensions of twistsmtp beside what other servers do about them.

Our column is what the code says: the registry, and the settings that there are. Theirs is in ``peers.toml``, each
looked up in the version that is named there.
"""

import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]  # its stubs are no tool of ours
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from restructured import list_table
from twistsmtp import extensions
from twistsmtp.delivery.discard import Discard
from twistsmtp.envelope import always
from twistsmtp.factory import SMTPFactory
from twistsmtp.session import Session
from twistsmtp.settings import SETTINGS
from twistsmtp.verb import Extension, Registry
from twistsmtp.verbs import CORE

__all__ = ["setup"]

FACTS = Path(__file__).with_name("peers.toml")

#: What is said of a server, by the word that ``peers.toml`` has for it.
CELLS = {"yes": "yes", "setting": "if set", "no": "no"}


class Peers(SphinxDirective):
    """The table, and what was looked at."""

    def run(self) -> list[nodes.Node]:
        """The content, parsed."""
        self.env.note_dependency(str(FACTS))
        return self.parse_text_to_nodes("\n".join(self.lines()) + "\n")

    def lines(self) -> Iterator[str]:
        """The table, and a sentence on the versions."""
        facts = tomllib.loads(FACTS.read_text())
        servers = facts["server"]
        heads = ("Extension", "Specified in", "twistsmtp", *(each["name"] for each in servers))
        yield from list_table(heads, self.rows(facts))
        versions = (f"{each['name']} {each['version']} ({each['how']})" for each in servers)
        yield from ("", f"Looked up in {'; '.join(versions)}.")

    def rows(self, facts: dict[str, Any]) -> Iterator[tuple[str, ...]]:
        """A row for each extension."""
        rows = facts["extensions"]
        for extension, offer in ours():
            if extension.name not in rows:
                raise self.error(f"{FACTS.name} has no {extension.name}")
            cells = [CELLS[each] for each in rows.pop(extension.name)]
            yield (f"``{extension.name}``", extension.rfc, offer, *cells)
        for name, row in facts["verbs"].items():
            yield (name, "RFC 5321", our_verb(name), *(CELLS[each] for each in row))
        for name, each in facts["settings"].items():
            if name not in {setting.name for setting in SETTINGS}:
                raise self.error(f"twistsmtp has no setting {name}")
            yield (each["name"], each["rfc"], "if set", *(CELLS[cell] for cell in each["servers"]))
        for name, left_out in facts["left_out"].items():
            cells = [CELLS[each] for each in left_out["servers"]]
            yield (name, left_out["rfc"], "left out", *cells)
        if rows:
            raise self.error(f"{FACTS.name} has {', '.join(rows)}, and twistsmtp has not")


def ours() -> Iterator[tuple[Extension, str]]:
    """Each extension, and what it takes to have it offered: those that are on by default, in the order of EHLO, and
    then the others."""
    session = plain_session()
    for extension in extensions.load_extensions():
        if extension.offer(session) is not None:
            yield extension, "yes"
        else:
            yield extension, "if set" if extension.usable is always else "if it can be kept"
    for name in sorted({module.name for module in iter_modules(extensions.__path__)} - set(extensions.DEFAULT)):
        module = import_module(f"{extensions.__name__}.{name}")
        if hasattr(module, name):  # it is for trusted addresses
            yield getattr(module, name)(["unix"]), "if set"
        elif hasattr(module, "extension"):
            yield module.extension(), "if set"


def our_verb(name: str) -> str:
    """What it takes to have a verb of the core carried out that need not be."""
    keyword = Registry(CORE).verbs[name].keyword
    return "if set" if callable(keyword) and not keyword(plain_session()) else "yes"


def plain_session() -> Session:
    """One of a server that has no settings."""
    return SMTPFactory(Discard(), hostname="localhost", reactor=Clock()).new_session(StringTransport())


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx calls this."""
    app.add_directive("peers", Peers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

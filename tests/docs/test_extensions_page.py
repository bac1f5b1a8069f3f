"""docs/extensions.rst: its table is that of the registry, and its code works."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.task import Clock
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT, Client, block
from twistsmtp.config import load
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions import load_extensions
from twistsmtp.factory import SMTPFactory

PAGE = "extensions.rst"


def offers(client: Client) -> list[str]:
    """The first words of what EHLO offers."""
    client.hear()
    client.say("EHLO client.example.net")
    return [line[4:].split()[0] for line in client.hear()[1:]]


class TableTests(SynchronousTestCase):
    """The table of what there is."""

    def setUp(self) -> None:
        _, _, table = (ROOT / "docs" / PAGE).read_text().partition(".. list-table::\n   :name: extensions\n")
        table = table[: table.index("\n\n", table.index("* -"))]
        rows = [row.split("\n     - ") for row in table.split("\n   * - ")[2:]]
        self.rows = [[" ".join(cell.split()) for cell in row] for row in rows]

    def test_all_of_them(self) -> None:
        """It has what is on by default, in the order of EHLO."""
        self.assertEqual(
            [(each.name, each.rfc) for each in load_extensions()],
            [(row[0].strip("`"), row[1].split(",")[0]) for row in self.rows],
        )

    def test_when_it_is_offered(self) -> None:
        """What is offered "always" is what a delivery that honours nothing has; memory honours all."""
        always = load_extensions(row[0].strip("`") for row in self.rows if row[3] == "always")
        client = Client(SMTPFactory(Discard(), reactor=Clock()))
        keywords = [str(each.offer(client.protocol.session)).split()[0] for each in always]
        self.assertEqual([*keywords, "HELP"], offers(client))
        honoured = [(row[0], match) for row in self.rows for match in re.findall(r'honours ``"(\w+)"``', row[3])]
        self.assertEqual([(f"``{name}``", name) for _, name in honoured], honoured)
        self.assertEqual(Memory.honours, {name for _, name in honoured})


class KeysTests(SynchronousTestCase):
    """Where the values are."""

    def test_each_parameter_has_its_key(self) -> None:
        """It is in the module of its extension, and called what the parameter is."""
        for extension in load_extensions():
            for each in (*extension.mail_parameters, *extension.rcpt_parameters):
                key = namedAny(f"twistsmtp.extensions.{extension.name}.{each.keyword.replace('-', '_')}")
                self.assertEqual(repr(key), f"<Parameter {each.keyword}>")


class CodeTests(SynchronousTestCase):
    """The blocks of code."""

    def run_block(self, name: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "page"}
        exec(block(PAGE, name).text, names)
        return names

    def test_honours(self) -> None:
        """The delivery of the page has DSN offered, and no more."""
        delivery = self.run_block("honours")["Reports"]()
        client = Client(SMTPFactory(delivery, reactor=Clock()))
        found = offers(client)
        self.assertIn("DSN", found)
        self.assertNotIn("RRVS", found)
        for line in ("MAIL FROM:<>", "RCPT TO:<a@x.example> NOTIFY=SUCCESS", "RCPT TO:<b@x.example>", "DATA"):
            client.say(line)
        [report] = [client.protocol.session.current.delivery]
        self.assertEqual(["a@x.example"], [str(each) for each in vars(report)["reports"]])

    def test_queue(self) -> None:
        """The queue of the page runs for users."""
        delivery = self.run_block("queue")["Queued"]()
        client = Client(SMTPFactory(delivery, reactor=Clock()))
        self.assertIn("ETRN", offers(client))
        client.say("ETRN node.example")
        client.protocol.session.authenticated("ada", delivery, lambda: None)
        client.say("ETRN node.example")
        self.assertEqual(["459", "251"], [line[:3] for line in client.hear()])

    def test_list(self) -> None:
        """The list of the page is one."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(block(PAGE, "extension-list").text)
        self.assertNotIn("dsn", load({}, path).extensions)
        load_extensions(load({}, path).extensions)

    def test_settings(self) -> None:
        """The factory of the page offers what it says."""
        client = Client(self.run_block("extension-settings")["factory"])
        client.hear()
        client.say("EHLO client.example.net")
        lines = client.hear()
        self.assertIn("250-FUTURERELEASE 86400 ", lines[-2])
        self.assertNotIn("ETRN", " ".join(lines))

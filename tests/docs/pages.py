"""The documentation as tests read it: blocks of code, and conversations that can be held with a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from twistsmtp.factory import SMTPFactory
from twistsmtp.protocol import SMTPProtocol

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.rst")))

# In reStructuredText a name is an option of the block; in Markdown it is a comment in the line before.
RST = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\S+)\n"
    r"(?P<options>(?:(?P=indent)   :.*\n)*)\n"
    r"(?P<text>(?:(?P=indent)   .*\n|\n)+)",
    re.MULTILINE,
)
MARKDOWN = re.compile(
    r"^(?:<!-- (?P<options>\S+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.

    :param line: of the page, where the block begins.
    """

    page: str
    line: int
    language: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page."""
    content = page.read_text()
    markdown = page.suffix == ".md"
    for match in (MARKDOWN if markdown else RST).finditer(content):
        options = match["options"] or ""
        named = options if markdown else "".join(re.findall(r":name: (\S+)", options))
        line = content.count("\n", 0, match.start("text")) + 1
        yield Block(page.name, line, match["language"], named, dedent(match["text"]).rstrip() + "\n")


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in one of *languages*."""
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


def block(page: str, name: str) -> Block:
    """The block of that *name*.

    :raises LookupError: there is none.
    """
    for each in PAGES:
        if each.name == page:
            for found in blocks(each):
                if found.name == name:
                    return found
    raise LookupError(f"{page} has no block {name}")


class Client:
    """The client's side of a connection, in memory."""

    def __init__(self, factory: SMTPFactory) -> None:
        if factory._reactor is None:
            factory._reactor = Clock()  # the pages leave it to the real one, where it would leave its calls behind
        self.transport = StringTransport()
        self.protocol = cast(SMTPProtocol, factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 25)))
        self.protocol.makeConnection(self.transport)

    def say(self, line: str) -> None:
        self.protocol.dataReceived(line.encode() + b"\r\n")

    def hear(self) -> list[str]:
        """The lines that the server has sent since."""
        text: str = self.transport.value().decode()
        self.transport.clear()
        return text.split("\r\n")[:-1]

    def leave(self) -> None:
        """Go away."""
        self.protocol.connectionLost()


def hold(conversation: str, factory: SMTPFactory) -> tuple[list[str], list[str]]:
    """Hold a conversation with a server: send what stands behind ``C:``.

    :returns: the conversation as it is written and as it was. A ``...`` is any
        word.
    """
    client = Client(factory)
    held = [f"S: {line}" for line in client.hear()]
    written = conversation.splitlines()
    for line in written:
        if line.startswith("C:"):
            client.say(line[3:])
            held += [line, *(f"S: {heard}" for heard in client.hear())]
    client.leave()
    return written, [_as_written(*pair) for pair in zip(written, held, strict=False)] + held[len(written) :]


def _as_written(written: str, held: str) -> str:
    pattern = r"\S+".join(map(re.escape, written.split("...")))
    return written if re.fullmatch(pattern, held) else held

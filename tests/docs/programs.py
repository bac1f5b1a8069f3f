"""The programs in examples/ as a user runs them: each in a process of its own, on a port of this machine."""

from __future__ import annotations

import smtplib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory
from twisted.trial.unittest import TestCase

from tests.clients.kit import Process, start
from tests.docs.pages import ROOT
from tests.docs.running import in_client, port_number
from tests.tls.support import authority, issue, write

__all__ = ["ANYWHERE", "EXAMPLES", "ExampleTestCase", "refused"]

EXAMPLES = ROOT / "examples"
ANYWHERE = "tcp:0:interface=127.0.0.1"


class ExampleTestCase(TestCase):
    """A folder, and examples that are run beside it."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def run_python(self, *arguments: str, stdin: bytes = b"") -> Process:
        """Python in a process of its own, under this checkout, until the test ends."""
        return start(self, [sys.executable, *arguments], folder=self.folder, stdin=stdin, PYTHONPATH=str(ROOT))

    async def start(self, name: str, *arguments: str) -> tuple[Process, int]:
        """Start an example, whose last argument is where it listens.

        :returns: its process, and the port.
        """
        process = self.run_python(str(EXAMPLES / name), *arguments, ANYWHERE)
        said = await process.says(r"\Alistening on (\d+)\n")
        return process, int(said[1])

    async def listen(self, factory: IProtocolFactory) -> int:
        """Listen in this process, for what an example speaks to.

        :returns: the port.
        """
        port = await serverFromString(reactor, ANYWHERE).listen(factory)
        self.addCleanup(port.stopListening)
        return port_number(port)

    def write(self, name: str, text: str) -> str:
        """The path of a new file."""
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def certificate(self, *names: str) -> str:
        """The path of a certificate for *names*, that clients believe who have ``authorities``."""
        return str(write(self.folder / f"{names[0]}.pem", issue(*names)))

    @property
    def authorities(self) -> str:
        """The path of the certificates to believe."""
        return self.write("authorities.pem", authority().cert_pem.bytes().decode())


def refused(port: int, talk: Callable[[smtplib.SMTP], Any]) -> Deferred[tuple[int, str]]:
    """The code and the text of the reply by which *talk* is refused something."""

    def talk_and_fail(client: smtplib.SMTP) -> tuple[int, str]:
        try:
            talk(client)
        except smtplib.SMTPRecipientsRefused as error:
            [(code, text)] = error.recipients.values()
            return code, text.decode()
        except smtplib.SMTPResponseException as error:
            return error.smtp_code, bytes(error.smtp_error).decode()  # type: ignore[arg-type]  # octets they are
        raise AssertionError("nothing was refused")

    return in_client(port, talk_and_fail)

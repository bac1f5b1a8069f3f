"""What tests with real clients share: the server on a port of this machine, processes, and what was stored."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from twistsmtp.delivery.maildir import Maildir
from twistsmtp.delivery.memory import Memory
from twistsmtp.eager import eager
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule

__all__ = ["ROOT", "TWISTD", "ClientTestCase", "Process", "Stored", "program", "start"]

#: The folder that the package is imported from.
ROOT = Path(__file__).resolve().parent.parent.parent
#: twistd, for ``python -c``, under this checkout whatever is installed.
TWISTD = "from twisted.scripts.twistd import run; run()"


# --- what was stored -----------------------------------------------------------------------------------------

_TRACE = re.compile(
    rb"(?:Return-Path: <(?P<reverse_path>[^\r\n]*)>\r\n)?"
    rb"Received: from (?P<helo>\S+) \(\[127\.0\.0\.1\]\)\r\n"
    rb"\tby mx\.test \(twistsmtp\) with (?P<protocol>\w+) id (?P<id>\S+)\r\n"
    rb"\t(?:for <(?P<recipient>[^\r\n]*)>)?(?:(?:\r\n\t)?tls TLS_\w+ \(TLSv1\.[23][^\r\n]*\))?; [^\r\n]+ \+0000\r\n"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored message, its own octets apart from the fields that the server wrote in front of them.

    :param reverse_path: of the Return-Path field; ``None`` where there is no such field.
    :param recipient: of the Received field; ``None`` where it names none.
    """

    reverse_path: str | None
    helo: str
    protocol: str
    id: str
    recipient: str | None
    #: What the client sent.
    octets: bytes

    @classmethod
    def parse(cls, octets: bytes) -> "Stored":
        """The message whose file or memory holds *octets*.

        :raises AssertionError: the server's fields are not in front of it.
        """
        match = _TRACE.match(octets)
        if match is None:
            raise AssertionError(f"no trace fields: {octets[:600]!r}")
        fields = {name: value if value is None else value.decode() for name, value in match.groupdict().items()}
        return cls(**cast(dict[str, str], fields), octets=octets[match.end() :])

    @classmethod
    def all_in(cls, maildir: Path) -> list["Stored"]:
        """The messages that are new in *maildir*."""
        return [cls.parse(path.read_bytes()) for path in (maildir / "new").iterdir()]


# --- processes -----------------------------------------------------------------------------------------------


class Process(ProcessProtocol):
    """A process, what it says, and how it ends."""

    transport: Any

    def __init__(self, stdin: bytes = b"") -> None:
        self._stdin = stdin
        self._said: dict[int, list[bytes]] = {1: [], 2: []}
        #: What it returned, or the number of the signal that ended it, less than 0; ``None`` while it runs.
        self.status: int | None = None
        #: The id that the system gave it.
        self.id = 0
        self._ended: list[Deferred[Process]] = []
        self._sought: list[tuple[re.Pattern[str], Deferred[re.Match[str]]]] = []

    @property
    def output(self) -> str:
        """What it has said on its standard output by now."""
        return b"".join(self._said[1]).decode(errors="replace")

    @property
    def errors(self) -> str:
        """What it has said on its standard error by now."""
        return b"".join(self._said[2]).decode(errors="replace")

    def ended(self) -> "Deferred[Process]":
        """Fires with this process when it has ended."""
        answer: Deferred[Process] = Deferred()
        if self.status is None:
            self._ended.append(answer)
        else:
            answer.callback(self)
        return answer

    def says(self, pattern: str) -> "Deferred[re.Match[str]]":
        """Fires when *pattern* is in the output; fails when the process ended without saying it."""
        answer: Deferred[re.Match[str]] = Deferred()
        self._sought.append((re.compile(pattern), answer))
        self._seek()
        return answer

    def kill(self) -> None:
        """kill -9, unless it is gone."""
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def signal(self, name: str) -> None:
        """Send it the signal *name*: ``"HUP"``, for one."""
        self.transport.signalProcess(name)

    def _seek(self) -> None:
        sought, self._sought = self._sought, []
        output = self.output if sought else ""
        for pattern, answer in sought:
            match = pattern.search(output)
            if match:
                answer.callback(match)
            elif self.status is None:
                self._sought.append((pattern, answer))
            else:
                answer.errback(AssertionError(f"ended with {self.status}, not saying {pattern.pattern!r}: {self}"))

    def __str__(self) -> str:
        return f"{self.output}\n{self.errors}"

    # Twisted's words.

    def connectionMade(self) -> None:
        self.id = self.transport.pid  # which is forgotten when it ends
        self.transport.write(self._stdin)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        self._said[childFD].append(data)
        self._seek()

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        end: Any = reason.value
        self.status = -end.signal if end.signal else end.exitCode
        self._seek()
        waiting, self._ended = self._ended, []
        for answer in waiting:
            answer.callback(self)


def program(name: str) -> str:
    """Where the program *name* is.

    :raises SkipTest: it is not installed.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        raise SkipTest(f"{name} is not installed")
    return path


def start(case: TestCase, command: Sequence[str], *, folder: Path, stdin: bytes = b"", **env: str) -> Process:
    """A process that runs *command* in *folder*, and ends with the test.

    It sees nothing of whoever runs the tests: no settings in a home folder, no proxies.
    """
    from twisted.internet import reactor

    process = Process(stdin)
    home = str(folder.resolve())
    clean = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LC_ALL": "C.UTF-8", **env}
    cast(Any, reactor).spawnProcess(process, command[0], command, clean, home)

    def end() -> "Deferred[Process]":
        process.kill()
        return process.ended()

    case.addCleanup(end)
    return process


# --- the test case -------------------------------------------------------------------------------------------


class ClientTestCase(TestCase):
    """A server in this process that takes mail for ``mx.test``, and clients in processes of their own."""

    timeout = 120

    def setUp(self) -> None:
        #: How many connections there have been.
        self.connections = 0
        #: For what a client reads and a server writes.
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.memory = Memory()

    async def serve(self, delivery: Memory | Maildir | None = None, **settings: Any) -> int:
        """Listen, by default keeping the mail in ``memory``.

        :returns: the port.
        """
        from twisted.internet import reactor

        settings = {"hostname": "mx.test", "policies": (RelayRule(["mx.test"]),), **settings}
        factory = SMTPFactory(delivery or self.memory, **settings)
        self.patch(factory, "buildProtocol", partial(self._count, factory.buildProtocol))
        port = eager(await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory))
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        return cast(IPv4Address, port.getHost()).port

    def _count(self, build: Callable[[IAddress], IProtocol | None], address: IAddress) -> IProtocol | None:
        self.connections += 1
        return build(address)

    async def run_program(self, name: str, *arguments: str, stdin: bytes = b"", **env: str) -> Process:
        """Run a client to its end.

        :raises SkipTest: it is not installed.
        """
        return await start(self, [program(name), *arguments], folder=self.folder, stdin=stdin, **env).ended()

    def file(self, name: str, octets: bytes) -> str:
        """The path of a new file, for the clients."""
        path = self.folder / name
        path.write_bytes(octets)
        path.chmod(0o600)
        return str(path.resolve())

    @property
    def stored(self) -> list[Stored]:
        """What is in ``memory``."""
        return [Stored.parse(message.octets) for message in self.memory.messages]

    def recipients(self) -> list[list[str]]:
        """Whom each message in ``memory`` is for."""
        return [list(map(str, message.envelope.recipients)) for message in self.memory.messages]

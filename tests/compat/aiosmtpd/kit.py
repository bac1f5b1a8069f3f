"""What the tests share: a server in memory on a loop that they turn by hand, and one in a thread with real clients."""

import asyncio
import logging
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import Any

import trustme
from twisted.trial.unittest import SynchronousTestCase

from twistsmtp.compat.aiosmtpd.smtp import SMTP

# What the servers log is not for the console.
logging.getLogger("mail").addHandler(logging.NullHandler())

__all__ = [
    "LOCAL_ERROR",
    "Keeper",
    "Memory",
    "MemoryTestCase",
    "Talk",
    "Wire",
    "contexts",
    "replies_of",
    "serving",
    "warned",
]

LOCAL_ERROR = "451 4.3.0 Requested action aborted: local error in processing"


class Keeper:
    """A handler that keeps envelopes."""

    def __init__(self) -> None:
        self.box: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.box.append(envelope)
        return "250 OK"


def replies_of(octets: bytes) -> list[str]:
    """The replies in *octets*, the lines of one joined by ``|``."""
    lines = octets.decode("utf-8").split("\r\n")
    assert lines.pop() == "", octets
    replies, begun = [], ""
    for line in lines:
        begun = f"{begun}|{line}" if begun else line
        if line[3:4] != "-":
            replies.append(begun)
            begun = ""
    assert not begun, octets
    return replies


@contextmanager
def warned(category: type[Warning]) -> Iterator[None]:
    """Something in this block is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert category in {each.category for each in caught}, caught


# --- in memory -----------------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """asyncio's side of a connection, in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, peer: Any, extra: dict[str, Any]) -> None:
        super().__init__({"peername": peer, **extra})
        self._loop, self._protocol = loop, protocol
        self.written = bytearray()
        self.reading = True
        self.closing = False

    def write(self, data: Any) -> None:
        if not self.closing:
            self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class ClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time goes on when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Memory:
    """A server, and its client."""

    def __init__(
        self,
        handler: Any = None,
        kind: Callable[..., Any] = SMTP,
        *,
        peer: Any = ("192.0.2.1", 4711),
        extra: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        self.loop = ClockLoop()
        self.server = kind(handler or Keeper(), loop=self.loop, hostname="mx.test", **parameters)
        self.wire = Wire(self.loop, self.server, peer, extra or {})
        self.server.connection_made(self.wire)
        self.settle()

    def settle(self, turns: int = 30) -> None:
        """Let everything happen that can happen now."""

        async def turn() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turn())

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """Time goes on."""
        until = self.loop.now + seconds
        while self.loop.now < until:
            self.loop.now = min(self.loop.now + step, until)
            self.settle(5)

    def send(self, *octets: bytes) -> None:
        for each in octets:
            if not self.wire.closing:
                self.server.data_received(each)
            self.settle()

    def replies(self) -> list[str]:
        """What the server has said since this was called before."""
        said = replies_of(bytes(self.wire.written))
        self.wire.written.clear()
        return said

    def say(self, *lines: str | bytes) -> list[str]:
        """Say *lines*, and hear the replies."""
        self.replies()
        for line in lines:
            self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.replies()

    def mail(self, message: bytes = b"Subject: x\r\n\r\nhello\r\n", recipients: Sequence[str] = ("b@b.test",)) -> str:
        """Send a message. Answers what became of it."""
        self.say("MAIL FROM:<a@a.test>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA")
        self.send(message + b".\r\n")
        return " / ".join(self.replies())

    def close(self) -> None:
        self.wire.close()
        self.settle()
        self.loop.close()


class MemoryTestCase(SynchronousTestCase):
    """Servers in memory, each closed with its test."""

    def connect(self, *arguments: Any, **parameters: Any) -> Memory:
        memory = Memory(*arguments, **parameters)
        self.addCleanup(memory.close)
        return memory


# --- real sockets --------------------------------------------------------------------------------------------


@contextmanager
def serving(factory: Callable[[], Any], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on a port of this machine, in a thread. Gives the port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


class Talk:
    """A client that says lines, and hears replies."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def hear(self) -> str:
        """One reply, its lines joined by ``|``; empty at the end."""
        lines = []
        while True:
            try:
                line = self.file.readline()
            except ConnectionError:
                line = b""
            if line:
                lines.append(line.rstrip(b"\r\n").decode("utf-8"))
            if not line or line[3:4] != b"-":
                return "|".join(lines)

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def say(self, line: str | bytes) -> str:
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return self.hear()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


_authority = trustme.CA(key_type=trustme.KeyType.ECDSA)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and that of a client which trusts it."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = _authority.issue_cert("127.0.0.1", "localhost", "::1", key_type=trustme.KeyType.ECDSA)
    with NamedTemporaryFile(suffix=".pem") as file:
        file.write(issued.private_key_pem.bytes() + b"".join(each.bytes() for each in issued.cert_chain_pems))
        file.flush()
        server.load_cert_chain(file.name)
    client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    _authority.configure_trust(client)
    return server, client

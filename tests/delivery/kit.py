"""What tests of deliveries share: a session, messages, and threads and a disk that do as they are told."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Envelope, Recipient, ReversePath, Session
from twistsmtp.factory import SMTPFactory
from twistsmtp.wire.grammar import parse_mailbox

__all__ = ["ANN", "Disk", "Threads", "deliver", "envelope", "files", "new_session", "opened", "settled", "to"]

#: Who sends the mail of every test.
ANN = ReversePath(mailbox=parse_mailbox("ann@one.example"))


def to(address: str) -> Recipient:
    return Recipient(mailbox=parse_mailbox(address))


def envelope(*addresses: str) -> Envelope:
    return Envelope("s.1", ANN, tuple(map(to, addresses)))


def new_session(delivery: Delivery) -> Session:
    """A session at mx.example."""
    return SMTPFactory(delivery, hostname="mx.example", reactor=Clock()).new_session(StringTransport())


async def settled(value: Any) -> Any:
    """*value*, when it is there."""
    return value if value is None else await value


async def opened(delivery: Delivery, *addresses: str) -> DeliveryTransaction:
    """A transaction whose octets are about to come."""
    transaction = cast(DeliveryTransaction, delivery.begin(new_session(delivery), ANN))
    for address in addresses:
        await settled(transaction.rcpt(to(address)))
    await settled(transaction.open(envelope(*addresses)))
    return transaction


async def deliver(delivery: Delivery, addresses: Sequence[str], chunks: Iterable[bytes]) -> None:
    """One message, as the server hands it to a delivery."""
    transaction = await opened(delivery, *addresses)
    try:
        for chunk in chunks:
            await settled(transaction.write(chunk))
        await settled(transaction.commit())
    except BaseException:
        transaction.abort()
        raise


def files(folder: Path) -> list[tuple[str, bytes]]:
    """All files in *folder*, each by the folder that it is in and what it holds."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.parent.relative_to(folder)), path.read_bytes()) for path in found]


class Threads(ThreadPool):
    """A pool whose work is done, in this thread, when `run` is called or at once; and its reactor."""

    def __init__(self, *, at_once: bool = True) -> None:
        super().__init__(0, 1)
        self.at_once = at_once
        self.waiting: list[Callable[[], None]] = []
        #: How many pieces of work there have been.
        self.count = 0

    @property
    def reactor(self) -> IReactorThreads:
        return cast(IReactorThreads, self)

    def getThreadPool(self) -> ThreadPool:  # noqa: N802 (Twisted's name, as those below)
        return self

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:  # noqa: N802
        function(*args)

    def callInThreadWithCallback(self, onResult: Any, func: Any, *args: Any, **kw: Any) -> None:  # noqa: N802, N803
        def work() -> None:
            try:
                result, ok = func(*args, **kw), True
            except BaseException:
                result, ok = Failure(), False
            onResult(ok, result)

        self.count += 1
        self.waiting.append(work)
        if self.at_once:
            self.run()

    def run(self, count: int = 1000) -> None:
        """Do *count* pieces of the work that waits, or all of it."""
        while self.waiting and count:
            self.waiting.pop(0)()
            count -= 1


class Disk:
    """Stands in for a module's `os`: keeps the calls that work on files, and may have them fail."""

    WATCHED = frozenset({"open", "write", "fsync", "close", "rename", "link", "unlink", "mkdir"})

    def __init__(self, root: Path) -> None:
        self.root = root
        #: Is called before each call, with its number from 0 on; what it raises, the call raises.
        self.before: Callable[[int], None] = lambda number: None
        #: Each call with its paths, below the root and without the names of messages: ``"fsync tmp/*"``.
        self.calls: list[str] = []
        #: How much a write takes at once, and what each took.
        self.at_once: int | None = None
        self.written: list[int] = []
        self.open_files: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in self.WATCHED:
            return getattr(os, name)
        return lambda *args: self._call(name, *args)

    def fail(self, call: str, code: int) -> None:
        """Have each call that begins with *call* fail from now on."""

        def before(number: int) -> None:
            if self.calls[number].startswith(call):
                raise OSError(code, os.strerror(code))

        self.before = before

    def heal(self) -> None:
        """Have no call fail any more."""
        self.before = lambda number: None

    def _call(self, name: str, *args: Any) -> Any:
        paths = [self._show(arg) for arg in args if isinstance(arg, str)] or [self.open_files[args[0]]]
        number = len(self.calls)
        self.calls.append(" ".join([name, *paths]))
        if name == "close":  # it closes, also where it fails
            del self.open_files[args[0]]
            os.close(args[0])
            self.before(number)
            return None
        self.before(number)
        if name == "fsync":  # it takes its time, and nobody pulls the plug
            return None
        if name == "write":
            self.written.append(os.write(args[0], args[1][: self.at_once]))
            return self.written[-1]
        result = getattr(os, name)(*args)
        if name == "open":
            self.open_files[result] = paths[0]
        return result

    def _show(self, path: str) -> str:
        shown = os.path.relpath(path, self.root)
        folder = os.path.dirname(shown)
        return f"{folder}/*" if os.path.basename(folder) in {"tmp", "new"} else shown

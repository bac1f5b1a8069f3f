"""What the tests of ``benchmarks/`` share."""

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from benchmarks.load import Load, LoadError, Sent, compile_load

__all__ = ["ROOT", "LoadTestCase", "run_script"]

ROOT = Path(__file__).resolve().parent.parent.parent
LINUX = sys.platform == "linux"
NOT_LINUX = "the load generator and the figures of processes are Linux's"


def run_script(name: str, *words: str) -> Deferred[subprocess.CompletedProcess[str]]:
    """Run a script of `benchmarks/` as a user does, in whatever folder."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *words]
    return deferToThread(subprocess.run, command, capture_output=True, text=True, timeout=300)


class LoadTestCase(TestCase):
    """The load generator is there."""

    folder: ClassVar[Path | None] = None
    if not LINUX:
        skip = NOT_LINUX

    def setUp(self) -> None:
        folder = Path(self.mktemp()) if LoadTestCase.folder is None else LoadTestCase.folder
        try:
            self.program = compile_load(folder.absolute())
        except LoadError as error:
            if "no C compiler" in str(error):
                raise SkipTest(str(error)) from None
            raise
        LoadTestCase.folder = folder

    async def listen(self, factory: Any) -> int:
        """The port where *factory* is served until the test ends."""
        port: IListeningPort = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        return cast(IPv4Address, port.getHost()).port

    def send(self, port: int, load: Load, *, timeout: int = 60) -> Deferred[Sent]:
        return deferToThread(load.send, self.program, port, timeout=timeout)

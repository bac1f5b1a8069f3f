"""A server in a process of its own, and what the system says about it. Linux only: it reads ``/proc``."""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

__all__ = ["Server", "ServerError", "busy_seconds", "free_port", "processors"]

START_TIME = 30.0
STOP_TIME = 15.0
_TICK = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server did not start, or ended too early."""


class Server:
    """A server that runs as long as the context does.

    :param command: how to start it; it listens on *port* of 127.0.0.1.
    :param folder: where it runs; its output is in ``output.txt`` there.
    :param processor: the one that it runs on.
    :raises ServerError: when entered: it did not greet in time.
    """

    def __init__(self, name: str, command: Sequence[str], port: int, folder: Path, processor: int) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._folder = folder
        self._output = folder / "output.txt"
        self._processor = processor

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Postfix ends by killing its group
            )
        try:
            os.sched_setaffinity(self._process.pid, {self._processor})
            self._wait_for_greeting()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def check(self) -> None:
        """See that it still runs.

        :raises ServerError: it does not.
        """
        if self._process.poll() is not None:
            raise ServerError(f"{self.name} ended with status {self._process.returncode}:\n{self._last_output()}")

    def cpu_seconds(self) -> float:
        """Processor time that it and its children have taken, user and system, those that have ended as well."""
        return sum(_ticks(process) for process in self._processes()) / _TICK

    def memory(self, which: Literal["VmRSS", "VmHWM"]) -> float:
        """MiB of memory that are resident now, or were at most since `forget_peak`, in all of its processes."""
        return sum(_kibibytes(process, which) for process in self._processes()) / 1024

    def forget_peak(self) -> None:
        """Begin to look for the highest use of memory anew, where the system lets us."""
        for process in self._processes():
            with suppress(PermissionError, FileNotFoundError):
                (process / "clear_refs").write_text("5")

    def _processes(self) -> list[Path]:
        """The folders in ``/proc`` of it and of its children.

        :raises ServerError: it does not run.
        """
        self.check()
        found, processes = [], [str(self._process.pid)]
        while processes:
            found.append(Path("/proc", processes.pop()))
            for children in found[-1].glob("task/*/children"):
                with suppress(OSError):
                    processes += children.read_text().split()
        return found

    def _wait_for_greeting(self) -> None:
        limit = time.monotonic() + START_TIME
        while time.monotonic() < limit:
            self.check()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                if client.recv(1000).startswith(b"220"):
                    client.sendall(b"QUIT\r\n")
                    while client.recv(1000):
                        pass
                    return
            time.sleep(0.05)
        raise ServerError(f"{self.name} did not greet within {START_TIME:.0f} s:\n{self._last_output()}")

    def _last_output(self) -> str:
        return self._output.read_text(errors="replace")[-2000:].strip()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _ticks(process: Path) -> int:
    """Processor time of a process and of its children that have ended, or nothing where it has ended itself."""
    with suppress(OSError):
        return sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:15]))
    return 0


def _kibibytes(process: Path, which: str) -> int:
    with suppress(OSError):
        lines = (process / "status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{which}:")), 0)
    return 0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def processors() -> tuple[int, int]:
    """The processor for a server and the one for the load: the same one where there is no other."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def busy_seconds() -> float:
    """Processor time that all of this machine has taken since it started, and that its host has taken away."""
    user, nice, system, _idle, _waiting, interrupts, soft, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + interrupts + soft + steal) / _TICK

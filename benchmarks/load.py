"""The load generators: ``load.c``, compiled where it is first used, and ``starttls.py``; and how they are run."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Load", "LoadError", "Sent", "compile_load"]

SOURCE = Path(__file__).with_name("load.c")
STARTTLS = Path(__file__).with_name("starttls.py")
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
LIBRARIES = ("-lm",)

Mode = Literal["kept", "new", "pipelined", "starttls"]


class LoadError(Exception):
    """There is no compiler, it failed, or the server was not as it should be."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the load generator did.

    :param seconds: from the first connection, or with a rate from when the first message is due, to the end of the
        last connection.
    :param cpu: processor seconds that the load generator itself took.
    :param latency: with a rate: seconds that half of the messages kept within, that 99 % did, that 99.9 % did, and the
        longest.
    """

    messages: int
    connections: int
    seconds: float
    cpu: float
    latency: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    :param mode: what a connection does with its messages; ``load.c`` explains them, and ``starttls.py`` its own.
    :param octets: of a message.
    :param rate: messages that are due in a second, or 0 for as many as there can be.
    """

    mode: Mode = "kept"
    connections: int = 20
    messages: int = 1000
    octets: int = 1000
    rate: int = 0

    def send(self, program: Path, port: int, *, host: str = "127.0.0.1", timeout: int = 60) -> Sent:
        """Send it to the server at *host* and *port*, within *timeout* seconds.

        :param program: what `compile_load` made.
        :raises LoadError: not all of it was accepted in time, or a reply was not the one that it had to be.
        """
        options = {"m": self.mode, "c": self.connections, "n": self.messages, "s": self.octets, "t": timeout}
        if self.rate:
            options["r"] = self.rate
        words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
        command = [sys.executable, STARTTLS] if self.mode == "starttls" else [program]
        done = subprocess.run([*command, *words, host, str(port)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoadError(done.stderr.strip() or f"load: ended by signal {-done.returncode}")
        return Sent(**json.loads(done.stdout))


def compile_load(folder: Path) -> Path:
    """Compile the load generator into *folder*, unless that has been done.

    The compiler is ``cc``, or what the environment's ``CC`` says.

    :returns: the program.
    :raises LoadError: there is no compiler, or it failed.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    version = hashlib.sha256(SOURCE.read_bytes() + " ".join([*compiler, *FLAGS, *LIBRARIES]).encode()).hexdigest()[:12]
    program = folder / f"load-{version}"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{program.name}.{os.getpid()}"
    command = [*compiler, *FLAGS, "-o", str(unfinished), str(SOURCE), *LIBRARIES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LoadError(
            f"no C compiler: {compiler[0]}: {error.strerror}. Install one (Debian: apt-get install gcc libc6-dev), "
            "or name one in the variable CC"
        ) from None
    if done.returncode:
        raise LoadError(f"{shlex.join(command)}\n{done.stderr.strip()}")
    unfinished.replace(program)
    return program

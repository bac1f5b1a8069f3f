"""What the parent and a worker say to each other, and how.

Each message is the length of its octets and these. What the parent says is pickled: it is what a worker is to be, and
reaches it by a pipe that nobody else has, not by an argument or the environment, which others may see. What a worker
says is JSON, or lines of its log: whatever a client may make of a worker, the parent runs nothing of it.
"""

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any

from twistsmtp.config import Config

__all__ = ["Frames", "Start", "frame", "pack", "read_start", "say", "unpack"]

_LENGTH = Struct("!I")
#: Octets of a message. A worker that says more has gone mad.
MOST = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a worker is to be."""

    #: From 1 on.
    number: int
    config: Config
    #: The reactor: the name that twistd has for it, or its module.
    reactor: str
    #: How its log is to look: one of `OBSERVERS`.
    log_format: str
    #: How many workers there are, and the descriptor of what they share: `Memory`.
    workers: int
    memory: int
    #: Descriptors of the sockets, in the order of the endpoints.
    sockets: tuple[int, ...]
    #: The files of certificates, keys among them, for a worker that may not read them.
    files: dict[Path, bytes] = field(default_factory=dict, repr=False)


class Frames:
    """Cuts octets into messages.

    :param received: called with each.
    """

    def __init__(self, received: Callable[[bytes], object]) -> None:
        self._received = received
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        """*octets* have come.

        :raises ValueError: a message is too long.
        """
        waiting, head = self._octets, _LENGTH.size
        waiting += octets
        while len(waiting) >= head:
            (length,) = _LENGTH.unpack_from(waiting)
            if length > MOST:
                raise ValueError(f"a message of {length} octets")
            if len(waiting) < head + length:
                break
            message = bytes(waiting[head : head + length])
            del waiting[: head + length]  # which takes no longer for what is behind it
            self._received(message)


def frame(octets: bytes) -> bytes:
    """*octets* as one message."""
    return _LENGTH.pack(len(octets)) + octets


# --- from the parent -----------------------------------------------------------------------------------------


def pack(message: object) -> bytes:
    """What the parent says."""
    return frame(pickle.dumps(message))


def read_start(descriptor: int) -> Start:
    """The first message of the parent.

    :raises EOFError: the parent is gone.
    """
    start: Start = pickle.loads(_read(descriptor, *_LENGTH.unpack(_read(descriptor, _LENGTH.size))))
    return start


def _read(descriptor: int, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = os.read(descriptor, count - len(octets))
        if not more:
            raise EOFError
        octets += more
    return octets


# --- from a worker -------------------------------------------------------------------------------------------

#: What a message of a worker begins with: text for the log, or anything else.
LOG, OTHER = b"L", b"J"


def say(kind: str, **more: Any) -> bytes:
    """What a worker says."""
    return frame(OTHER + json.dumps({"kind": kind, **more}).encode())


def unpack(message: bytes) -> str | dict[str, Any]:
    """What a worker has said: text for the log, or what `say` was given.

    :raises ValueError: it is neither.
    """
    if message[:1] == LOG:
        return message[1:].decode(errors="replace")
    said = json.loads(message[1:])
    if not isinstance(said, dict):
        raise ValueError("a worker says nothing that makes sense")
    return said

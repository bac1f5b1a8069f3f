"""A message that is kept until it is known what becomes of it."""

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO

__all__ = ["IN_MEMORY", "PIECE", "Held"]

#: Octets of a message that are kept in memory; of a greater one all are in a file without a name.
IN_MEMORY = 64 * 1024

#: Octets that are read from it at one time.
PIECE = 64 * 1024


class Held:
    """Octets, written once and read as often as anybody likes.

    What it writes to a file stays in the system's cache for all that it cares: nothing of it is to survive the
    process, and so nothing waits for a disk.

    :param in_memory: octets that are kept in memory at the most.
    :param folder: where the file is; by default the system's folder for such files.
    """

    def __init__(self, in_memory: int = IN_MEMORY, folder: str | None = None) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(in_memory, dir=folder)  # noqa: SIM115  # `close` closes it
        #: How many octets there are.
        self.size = 0

    def write(self, octets: bytes) -> None:
        """The next octets.

        :raises OSError: there is no room for them.
        """
        self._file.write(octets)
        self.size += len(octets)

    def open(self) -> IO[bytes]:
        """All of it as a file, at its beginning: to be read, and neither written nor closed. There is one at a time."""
        self._file.seek(0)
        return self._file

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of up to `PIECE` octets."""
        file = self.open()
        while octets := file.read(PIECE):
            yield octets

    def close(self) -> None:
        """Nobody wants it any more."""
        self._file.close()

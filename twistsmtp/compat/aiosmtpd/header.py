"""What has come of a connection that begins with a header of the PROXY protocol."""

import asyncio

from twistsmtp.compat.aiosmtpd.proxy_protocol import LONGEST_LINE

__all__ = ["Header"]

#: Octets that are kept of a client that has not sent its header yet: more than any header has.
ROOM = 128 * 1024


class Header:
    """The octets so far: an `AsyncReader`."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._more: asyncio.Future[None] | None = None

    def feed(self, octets: bytes) -> bool:
        """More has come. Answers whether there is still room."""
        self._octets += octets
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)
        return len(self._octets) <= ROOM

    def rest(self) -> bytes:
        """What stands behind the header."""
        return bytes(self._octets)

    async def _wait(self) -> None:
        self._more = asyncio.get_running_loop().create_future()
        await self._more

    def _take(self, size: int) -> bytes:
        octets = bytes(self._octets[:size])
        del self._octets[:size]
        return octets

    async def read(self, n: int = -1) -> bytes:
        """See `AsyncReader`."""
        while not self._octets:
            await self._wait()
        return self._take(n)

    async def readexactly(self, n: int) -> bytes:
        """See `AsyncReader`."""
        while len(self._octets) < n:
            await self._wait()
        return self._take(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """See `AsyncReader`.

        :raises ValueError: there is none in a line's length.
        """
        while separator not in self._octets:
            if len(self._octets) > LONGEST_LINE:
                raise ValueError("a line without end")
            await self._wait()
        return self._take(self._octets.index(separator) + len(separator))

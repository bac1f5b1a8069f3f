"""Many handshakes at once: ``python -m tests.clients.handshakes COUNT AUTHORITIES STARTTLS-PORT IMPLICIT-PORT``.

Half of the connections begin TLS by STARTTLS, and half with it. Each has its TLS and waits until all have; then all go.
"""

import asyncio
import ssl
import sys


class Gate:
    """Opens when so many have come to it."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._open = asyncio.Event()

    async def pass_through(self) -> None:
        """Wait for all the others."""
        self._missing -= 1
        if not self._missing:
            print("all are here", flush=True)  # noqa: T201  # for whoever started this
            self._open.set()
        await self._open.wait()


async def say(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], command: str, code: str) -> None:
    """Say *command*, if it is one, and read the whole reply, which has *code*."""
    reader, writer = stream
    if command:
        writer.write(f"{command}\r\n".encode())
    while True:
        line = (await reader.readuntil(b"\r\n")).decode()
        assert line.startswith(code), f"{line!r} to {command}"
        if line[3] == " ":
            return


async def connect(context: ssl.SSLContext, port: int, *, implicit: bool, gate: Gate) -> None:
    """One connection, from its beginning to its end."""
    tls = {"ssl": context, "server_hostname": "mx.test", "ssl_handshake_timeout": 110} if implicit else {}
    stream = await asyncio.open_connection("127.0.0.1", port, **tls)  # type: ignore[arg-type]  # it knows them apart
    reader, writer = stream
    await say(stream, "", "220")
    if not implicit:
        await say(stream, "EHLO client.test", "250")
        await say(stream, "STARTTLS", "220")
        await writer.start_tls(context, server_hostname="mx.test", ssl_handshake_timeout=110)
    await gate.pass_through()
    await say(stream, "EHLO client.test", "250")
    await say(stream, "QUIT", "221")
    assert await reader.read() == b""
    writer.close()


async def main(count: int, authorities: str, *ports: int) -> None:
    """All of them.

    :raises Exception: what the first that failed failed with.
    """
    context = ssl.create_default_context(cafile=authorities)
    gate = Gate(count)
    numbers = range(count)
    await asyncio.gather(
        *(connect(context, ports[number % 2], implicit=number % 2 == 1, gate=gate) for number in numbers)
    )
    print("all have gone", flush=True)  # noqa: T201  # the same


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))

"""aiosmtpd that accepts every message and drops it: ``accept_aiosmtpd.py PORT CERTIFICATE [uvloop]``."""

import asyncio
import ssl
import sys
from functools import partial
from importlib import import_module

from aiosmtpd.smtp import SMTP  # type: ignore[import-not-found, unused-ignore]  # only in the peers' environment


class Discard:
    """The handler. aiosmtpd has kept the message by the time that it asks."""

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802
        return "250 OK"


async def main(port: int, certificate: str) -> None:
    """Serve for ever. Without aiosmtpd's Controller, which would put the loop into a thread."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    protocol = partial(SMTP, Discard(), hostname="mx.example.com", tls_context=context, loop=loop)
    server = await loop.create_server(protocol, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    port, certificate, *uvloop = sys.argv[1:]
    run = import_module("uvloop").run if uvloop else asyncio.run
    run(main(int(port), certificate))

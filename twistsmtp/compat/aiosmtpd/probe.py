"""How a controller finds out that it can make servers, and that they answer."""

import asyncio
import ssl
from contextlib import ExitStack
from typing import Any

__all__ = ["hear_from"]


def _server_to_client_ssl_ctx(server_ctx: ssl.SSLContext) -> ssl.SSLContext:
    """What a client connects to our own server by: it need not find out who that is."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.options = server_ctx.options
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def hear_from(socket: Any, context: ssl.SSLContext | None, stack: ExitStack) -> None:
    """Wait for the first word of our own server."""
    if context is not None:
        socket = stack.enter_context(_server_to_client_ssl_ctx(context).wrap_socket(socket))
    socket.recv(1024)


class _FakeServer(asyncio.Protocol):
    """What a connection is given if `BaseController.factory` has failed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is nobody to speak to."""
        transport.close()

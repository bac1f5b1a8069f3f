"""AUTH (RFC 4954): where SASL mechanisms meet a connection."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from twistsmtp.client.connection import Connection
from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import AuthError, ProtocolError
from twistsmtp.client.replies import LINE_LIMIT
from twistsmtp.client.tls import binding
from twistsmtp.sasl.client import choose
from twistsmtp.sasl.client_api import ClientContext, ClientMechanism, Credentials, Failed, Responses
from twistsmtp.wire.reply import Reply

__all__ = ["authenticate"]

#: RFC 4954 section 4: octets of a challenge, and of a response.
_CHALLENGE = 12288
#: RFC 5321 section 4.5.3.1.4: octets of a command. Not all servers know that AUTH may have more.
_COMMAND = 512
#: What says that a mechanism does not do, and another may: it is not known, too weak, or has no keys of this user.
_NEXT = frozenset({504, 534})

#: Calls a function in a thread.
InThread = Callable[..., "Deferred[Any]"]


async def authenticate(
    connection: Connection, destination: Destination, credentials: Credentials, in_thread: InThread
) -> str:
    """Have the server know us.

    :returns: the name of the mechanism that did.
    :raises AuthError: it does not let us in, or there is no mechanism that can be used.
    """
    context = _context(connection, destination)
    mechanisms = choose(context.offered, credentials, context)
    if not mechanisms:
        raise AuthError(_why_none(connection, credentials))
    connection.extend_lines(_CHALLENGE + len("334 \r\n"))
    try:
        for mechanism in mechanisms:
            reply = await _exchange(connection, mechanism, mechanism.start(credentials, context), in_thread)
            if reply.code == 235:
                return mechanism.name
            if reply.code not in _NEXT:
                break
    finally:
        connection.extend_lines(LINE_LIMIT)
    raise AuthError(f"AUTH {mechanism.name}", reply)


def _context(connection: Connection, destination: Destination) -> ClientContext:
    context = ClientContext(
        host=destination.host,
        port=destination.port if destination.host else 0,
        verified=connection.verified or bool(destination.path),
        certificate=connection.tls is not None and destination.tls.has_certificate,
        offered=connection.capabilities.mechanisms,
    )
    if connection.tls is None:
        return context
    handle = connection.transport.getHandle()
    known = {name: binding(handle, name) for name in ("tls-exporter", "tls-server-end-point")}
    return ClientContext(
        host=context.host,
        port=context.port,
        verified=context.verified,
        certificate=context.certificate,
        offered=context.offered,
        binding=known.get,
    )


def _why_none(connection: Connection, credentials: Credentials) -> str:
    offered = connection.capabilities.mechanisms
    if not offered:
        return "AUTH is not offered"
    why = "fits the credentials" if connection.verified or credentials.plaintext else "keeps the secret without TLS"
    return f"of {' '.join(offered)}, none {why}"


async def _exchange(
    connection: Connection, mechanism: ClientMechanism, responses: Responses, in_thread: InThread
) -> Reply:
    """Say AUTH and what follows; the last reply."""
    first = next(responses)
    command = f"AUTH {mechanism.name}"
    initial = None if first is None else _encoded(first) or "="  # RFC 4954 section 4: "=" stands for none
    if initial is not None and len(command) + len(initial) + len(" \r\n") <= _COMMAND:
        reply = await connection.command(f"{command} {initial}", step="AUTH")
    else:
        reply = await connection.command(command)
        if reply.code == 334 and first is not None:  # an empty challenge
            reply = await connection.command(_encoded(first), step="AUTH")
    while reply.code == 334:
        response = await _respond(connection, responses, _challenge(reply), mechanism, in_thread)
        reply = await connection.command(response, step="AUTH")
    if reply.code == 235:
        try:
            responses.send(None)
        except StopIteration:
            return reply
        except Failed as error:
            raise AuthError(str(error)) from None
        raise AuthError("the server lets us in too early")
    responses.close()
    if reply.positive:
        raise ProtocolError(f"no reply to AUTH: {reply.code}")
    return reply


async def _respond(
    connection: Connection,
    responses: Responses,
    challenge: bytes | None,
    mechanism: ClientMechanism,
    in_thread: InThread,
) -> str:
    """What to answer to *challenge*.

    :raises AuthError: nothing; the exchange is over.
    """
    try:
        if challenge is None:
            raise Failed("a challenge that is not base64")
        send = responses.send
        response = await in_thread(send, challenge) if mechanism.slow else send(challenge)
        return _encoded(response or b"")
    except StopIteration:
        error = "the server asks for more than the mechanism has"
    except Failed as failed:
        error = str(failed)
    await connection.command("*", step="AUTH")  # RFC 4954 section 4: the client gives up
    raise AuthError(error)


def _challenge(reply: Reply) -> bytes | None:
    try:
        return b64decode(reply.text, validate=True)
    except ValueError:
        return None


def _encoded(octets: bytes) -> str:
    return b64encode(octets).decode()

"""SCRAM from the client's side (RFC 5802, RFC 7677): proof of a password that the server does not get to see.

The server proves that it knows the password's keys as well. One that lets us in without is not believed: it would be
anybody, who would let in everybody, and take their mail.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable

from twistsmtp.sasl.client_api import ClientContext, Credentials, Failed, Responses, respond
from twistsmtp.sasl.prep import saslprep

__all__ = ["binds", "scram"]

#: The channel bindings, the best first: RFC 9266, RFC 5929 section 4.
BINDINGS = ("tls-exporter", "tls-server-end-point")
#: What a server may ask for. Fewer are no protection (RFC 7677 section 4); more are work that it makes us do.
FEWEST, MOST = 4096, 2_000_000

# server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
# A "m=" in front is an extension that must be understood, and is not.
_SERVER_FIRST = re.compile(
    rb"r=([!-+\--~]{1,1024}),s=([A-Za-z0-9+/]{1,1024}={0,2}),i=([1-9][0-9]{0,9})(?:,.*)?", re.DOTALL
)

# server-final-message = (server-error / verifier) ["," extensions]
_SERVER_FINAL = re.compile(rb"v=([A-Za-z0-9+/]+={0,2})(?:,.*)?", re.DOTALL)


def binds(context: ClientContext) -> bool:
    """Whether the connection has anything to bind to."""
    return any(context.binding(name) is not None for name in BINDINGS)


def scram(digest: str, *, plus: bool) -> Callable[[Credentials, ClientContext], Responses]:
    """Begins an exchange.

    :param digest: ``"sha-1"`` or ``"sha-256"``.
    :param plus: whether it is bound to the channel.
    """
    algorithm = digest.replace("-", "")
    return lambda credentials, context: _scram(credentials, context, algorithm, plus)


def _scram(credentials: Credentials, context: ClientContext, algorithm: str, plus: bool) -> Responses:
    header, binding = _gs2(credentials, context, plus)
    nonce = secrets.token_urlsafe(24)
    bare = f"n={_saslname(credentials.username)},r={nonce}"

    server_first = yield from respond(f"{header}{bare}".encode())
    first = _SERVER_FIRST.fullmatch(server_first)
    if first is None:
        raise Failed("not a server-first-message")
    iterations = int(first[3])
    if not (first[1].startswith(nonce.encode()) and len(first[1]) > len(nonce)):
        raise Failed("the server has not our nonce")
    if not FEWEST <= iterations <= MOST:
        raise Failed(f"{iterations} iterations, where {FEWEST} to {MOST} are sensible")

    without_proof = b"c=" + b64encode(header.encode() + binding) + b",r=" + first[1]
    message = b",".join((bare.encode(), server_first, without_proof))
    salted = hashlib.pbkdf2_hmac(algorithm, _prepared(credentials.password), _decoded(first[2]), iterations)
    client_key = hmac.digest(salted, b"Client Key", algorithm)
    signature = hmac.digest(hashlib.new(algorithm, client_key).digest(), message, algorithm)
    proof = bytes(ours ^ theirs for ours, theirs in zip(client_key, signature, strict=True))

    server_final = yield from respond(without_proof + b",p=" + b64encode(proof))
    final = _SERVER_FINAL.fullmatch(server_final)
    if final is None:
        raise Failed("not a server-final-message")
    server_key = hmac.digest(salted, b"Server Key", algorithm)
    if not hmac.compare_digest(_decoded(final[1]), hmac.digest(server_key, message, algorithm)):
        raise Failed("the server does not know the password's keys")
    yield b""


def _gs2(credentials: Credentials, context: ClientContext, plus: bool) -> tuple[str, bytes]:
    """The gs2-header (RFC 5802 section 7), and what the channel is bound by."""
    authzid = f"a={_saslname(credentials.authorization)}" if credentials.authorization else ""
    if plus:
        for name in BINDINGS:
            binding = context.binding(name)
            if binding is not None:
                return f"p={name},{authzid},", binding
        raise Failed("there is nothing to bind to")
    # "y": we could bind, and the server does not offer it. If it does, somebody has taken that out of its list.
    offers = any(each.upper().startswith("SCRAM-") and each.upper().endswith("-PLUS") for each in context.offered)
    return f"{'y' if binds(context) and not offers else 'n'},{authzid},", b""


def _saslname(text: str) -> str:
    return _prepared(text).decode().replace("=", "=3D").replace(",", "=2C")


def _prepared(text: str) -> bytes:
    """*text* by SASLprep (RFC 4013), or as it is where that does not let it pass."""
    try:
        return saslprep(text).encode()
    except ValueError:
        return text.encode()


def _decoded(octets: bytes) -> bytes:
    try:
        return b64decode(octets, validate=True)
    except ValueError:
        raise Failed("not base64") from None

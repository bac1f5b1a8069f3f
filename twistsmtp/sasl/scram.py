"""SCRAM (RFC 5802, RFC 7677): proof of a password of which the server keeps only what proves it.

=================== ==================================================================
client-first        whether the channel is to be bound, a username, a nonce
server-first        the nonce lengthened, the user's salt and iterations
client-final        the channel binding, and the proof
server-final        the server's signature: the client sees that we knew its keys, too
=================== ==================================================================

The signature is sent when the login has succeeded and not before. SMTP has no data with success (RFC 4954 section 4),
so it is one more challenge, with an empty response.

The server's share is two HMACs; there is no work in it that grows with the iterations.
"""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from functools import partial

from zope.interface import implementer

from twistsmtp.sasl.api import Context, Denied, Exchange, Malformed, Mechanism, ask, log_in, look_up
from twistsmtp.sasl.credentials import IScramProof, ScramKeys
from twistsmtp.sasl.prep import identities, prepared, utf8

__all__ = ["BINDINGS", "SHA_1", "SHA_1_PLUS", "SHA_256", "SHA_256_PLUS", "ScramProof"]

#: The channel bindings that a client may use: RFC 9266, RFC 5929 section 4.
BINDINGS = ("tls-exporter", "tls-server-end-point")

#: Octets of a message from the client.
_LIMIT = 8192

# value-safe-char = %x01-2B / %x2D-3C / %x3E-7F / UTF8-2 / UTF8-3 / UTF8-4   ; no NUL, "=", ","
# saslname        = 1*(value-safe-char / "=2C" / "=3D")
_SASLNAME = r"(?:[^\0,=]|=2C|=3D)+"

# printable       = %x21-2B / %x2D-7E    ; nonces are of these
_NONCE = r"[!-+\--~]+"

# base64          = *base64-4 [base64-3 / base64-2]
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?"

# extensions      = attr-val *("," attr-val)   ; to be ignored, but for "m=", which has to be refused
_EXTENSIONS = r"(?:,[A-Za-ln-oq-z]=[^\0,]+)*"

# gs2-cbind-flag            = ("p=" cb-name) / "n" / "y"
# gs2-header                = gs2-cbind-flag "," [ authzid ] ","
# client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
# client-first-message      = gs2-header client-first-message-bare
_CLIENT_FIRST = re.compile(
    rf"(?P<header>(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authorization>{_SASLNAME}))?,)"
    rf"(?P<bare>n=(?P<username>{_SASLNAME}),r=(?P<nonce>{_NONCE}){_EXTENSIONS})"
)

# client-final-message-without-proof = channel-binding "," nonce ["," extensions]
# client-final-message               = client-final-message-without-proof "," proof
_CLIENT_FINAL = re.compile(
    rf"(?P<without_proof>c=(?P<binding>{_BASE64}),r=(?P<nonce>{_NONCE}){_EXTENSIONS}),p=(?P<proof>{_BASE64})"
)


@implementer(IScramProof)
@dataclass(frozen=True, slots=True, eq=False)
class ScramProof:
    """See `IScramProof`. With message and proof, passwords could be tried at leisure: neither is shown."""

    username: str
    digest: str
    #: AuthMessage, all that was said.
    message: bytes = field(repr=False)
    #: ClientProof.
    proof: bytes = field(repr=False)

    def proves(self, keys: ScramKeys) -> bool:
        """Whether the client knows the password that *keys* are of (RFC 5802 section 3)."""
        signature = hmac.digest(keys.stored_key, self.message, _algorithm(self.digest))
        client_key = bytes(ours ^ theirs for ours, theirs in zip(signature, self.proof, strict=True))
        return hmac.compare_digest(hashlib.new(_algorithm(self.digest), client_key).digest(), keys.stored_key)


def _algorithm(digest: str) -> str:
    """The name that Python has for *digest*."""
    return digest.replace("-", "")


def _saslname(text: str, what: str) -> str:
    return prepared(text.replace("=2C", ",").replace("=3D", "=").encode(), what)


def _nonce() -> str:
    return secrets.token_urlsafe(24)


def _binds(context: Context) -> bool:
    return any(context.binding(name) is not None for name in BINDINGS)


def _binding(context: Context, plus: bool, flag: str, name: str | None) -> bytes:
    """What the channel is bound by, or ``b""`` if it is not (RFC 5802 section 6).

    :param name: that of the channel binding, where *flag* has one.
    """
    if plus != (name is not None):
        raise Malformed("channel binding and mechanism do not agree")
    if flag == "y" and _binds(context):
        # It could bind, and believes that we cannot: somebody has taken the -PLUS out of our list.
        raise Denied("downgrade")
    if name is None:
        return b""
    binding = context.binding(name) if name in BINDINGS else None
    if binding is None:
        raise Denied("no such channel binding")
    return binding


def _scram(context: Context, digest: str, plus: bool) -> Exchange:
    first = _CLIENT_FIRST.fullmatch(utf8((yield from ask()), "client-first-message", _LIMIT))
    if first is None:
        raise Malformed("not a client-first-message")
    binding = _binding(context, plus, first["flag"], first["binding"])
    username = _saslname(first["username"], "username")
    asked = first["authorization"]
    authorization = None if asked is None else _saslname(asked, "authorization identity")

    keys = yield from look_up(username, digest)
    nonce = first["nonce"] + _nonce()
    server_first = f"r={nonce},s={b64encode(keys.salt).decode()},i={keys.iterations}"

    octets = yield from ask(server_first.encode())
    final = _CLIENT_FINAL.fullmatch(utf8(octets, "client-final-message", _LIMIT))
    if final is None:
        raise Malformed("not a client-final-message")
    proof = b64decode(final["proof"])
    if len(proof) != hashlib.new(_algorithm(digest)).digest_size:
        raise Malformed("not a proof")
    if final["nonce"] != nonce:
        raise Denied("not our nonce")
    if not hmac.compare_digest(b64decode(final["binding"]), first["header"].encode() + binding):
        raise Denied("not this channel")

    message = ",".join((first["bare"], server_first, final["without_proof"])).encode()
    yield from log_in(ScramProof(username, digest, message, proof), *identities(username, authorization))

    signature = hmac.digest(keys.server_key, message, _algorithm(digest))
    if (yield from ask(b"v=" + b64encode(signature))):
        raise Malformed("more than an empty response to the server-final-message")


def _mechanism(digest: str) -> Mechanism:
    return Mechanism(
        name=f"SCRAM-{digest.upper()}",
        start=partial(_scram, digest=digest, plus=False),
        interface=IScramProof,
        digest=digest,
    )


def _plus(digest: str) -> Mechanism:
    return Mechanism(
        name=f"SCRAM-{digest.upper()}-PLUS",
        start=partial(_scram, digest=digest, plus=True),
        interface=IScramProof,
        usable=_binds,
        digest=digest,
    )


SHA_1 = _mechanism("sha-1")
SHA_1_PLUS = _plus("sha-1")
SHA_256 = _mechanism("sha-256")
SHA_256_PLUS = _plus("sha-256")

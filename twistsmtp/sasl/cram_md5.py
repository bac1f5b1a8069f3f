"""CRAM-MD5 (RFC 2195): proof of a password that the server has to have in the clear."""

import hmac
import re
import secrets
from dataclasses import dataclass, field

from twisted.cred.credentials import IUsernameHashedPassword
from zope.interface import implementer

from twistsmtp.sasl.api import Context, Exchange, Malformed, Mechanism, ask, log_in
from twistsmtp.sasl.prep import prepared

__all__ = ["MECHANISM", "CramMD5Response"]

_RESPONSE = re.compile(rb"(.+) ([0-9a-f]{32})", re.DOTALL)


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, slots=True, eq=False)
class CramMD5Response:
    """The answer to a challenge. With both, passwords could be tried at leisure: neither is shown."""

    username: bytes
    challenge: bytes = field(repr=False)
    #: In hexadecimal.
    digest: bytes = field(repr=False)

    def checkPassword(self, password: bytes | str) -> bool:
        """Whether the client knows *password*, which is in the clear."""
        secret = password.encode() if isinstance(password, str) else password
        return hmac.compare_digest(hmac.digest(secret, self.challenge, "md5").hex().encode(), self.digest)


def _challenge(hostname: str) -> bytes:
    """A fresh one; in the form of a message identifier, as RFC 2195 section 2 has it."""
    return f"<{secrets.randbits(64)}.{secrets.randbits(64)}@{hostname}>".encode()


def _cram_md5(context: Context) -> Exchange:
    challenge = _challenge(context.hostname)
    match = _RESPONSE.fullmatch((yield from ask(challenge)))
    if match is None:
        raise Malformed("not a username and a digest")
    username = prepared(match[1], "username")
    yield from log_in(CramMD5Response(username.encode(), challenge, match[2]), username)


MECHANISM = Mechanism(name="CRAM-MD5", start=_cram_md5, interface=IUsernameHashedPassword)

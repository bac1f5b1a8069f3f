"""A SASL mechanism of one's own: CRAM-SHA256, a proof that one knows a password, which is not sent.

twistd --nodaemon smtp --mechanism examples.cram_sha256 --auth memory:ada:secret --plaintext-auth
"""

import hmac
import secrets
from dataclasses import dataclass

from twisted.cred.credentials import IUsernameHashedPassword
from zope.interface import implementer

from twistsmtp import Mechanism
from twistsmtp.sasl.api import Context, Exchange, ask, log_in


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, repr=False)
class Proof:
    """What a checker of twisted.cred is given, whatever it knows its passwords from."""

    username: bytes
    challenge: bytes
    digest: bytes

    def checkPassword(self, password: bytes) -> bool:
        """Whether it proves that one knows *password*."""
        digest = hmac.digest(password, self.challenge, "sha256").hex().encode()
        return hmac.compare_digest(digest, self.digest)


def exchange(context: Context) -> Exchange:
    """The server says a challenge, the client a name and a digest; the rest is a checker's."""
    challenge = f"<{secrets.token_hex(16)}@{context.hostname}>".encode()
    name, _, digest = (yield from ask(challenge)).rpartition(b" ")
    yield from log_in(Proof(name, challenge, digest), name.decode(errors="replace"))


MECHANISM = Mechanism(name="CRAM-SHA256", start=exchange, interface=IUsernameHashedPassword)

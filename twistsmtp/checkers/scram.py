"""SCRAM keys (RFC 5802) as checkers keep them."""

import hashlib
import hmac
from dataclasses import dataclass

from zope.interface import Attribute

from twistsmtp.later import Later
from twistsmtp.sasl.credentials import IScramChecker, ScramKeys
from twistsmtp.sasl.prep import saslprep

__all__ = ["DIGESTS", "SCRAM_ITERATIONS", "IScramStore", "ScramVerifier", "derive_keys"]

#: The digests that there are keys for, strongest first.
DIGESTS = ("sha-256", "sha-1")
#: Of new keys: RFC 7677 section 4 asks for 15000 or so, and for no fewer than 4096.
SCRAM_ITERATIONS = 15000


class IScramStore(IScramChecker):
    """A checker for SCRAM that says whether it knows a user, so that another may be asked if it does not."""

    scram_digests: frozenset[str] = Attribute(
        "Digests that a client may be offered: none of its users who can log in with a password cannot with these."
    )

    def known_keys(username: str, digest: str) -> Later[ScramKeys | None]:  # noqa: N805  # an interface's methods have no self
        """As `IScramChecker.scram_keys`, but ``None`` where there are none."""


def derive_keys(password: str, salt: bytes, iterations: int, digest: str) -> ScramKeys:
    """The keys of a password (RFC 5802 section 3). It takes as long as *iterations* says.

    :param digest: ``"sha-1"`` or ``"sha-256"``.
    :raises ValueError: SASLprep does not allow the password.
    """
    name = digest.replace("-", "")
    salted = hashlib.pbkdf2_hmac(name, saslprep(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", name)
    server_key = hmac.digest(salted, b"Server Key", name)
    return ScramKeys(salt, iterations, hashlib.new(name, client_key).digest(), server_key)


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """The keys of one password, which can check the password itself as well."""

    digest: str
    keys: ScramKeys

    @property
    def scheme(self) -> str:
        """``"scram-sha-256"`` or ``"scram-sha-1"``."""
        return f"scram-{self.digest}"

    def verify(self, password: str) -> bool:
        """Whether *password*, prepared by SASLprep, is the one. It takes its time."""
        derived = derive_keys(password, self.keys.salt, self.keys.iterations, self.digest)
        return hmac.compare_digest(derived.stored_key, self.keys.stored_key)

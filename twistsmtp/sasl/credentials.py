"""Credentials of the mechanisms that `twisted.cred` has none for, and what their checkers have to be.

A checker says which of these it can check in its ``credentialInterfaces``, as any checker of `twisted.cred`, and the
mechanisms that end in them are offered. PLAIN and LOGIN end in ``IUsernamePassword``, CRAM-MD5 in
``IUsernameHashedPassword``, ANONYMOUS in ``IAnonymous``; those are Twisted's.

No secret is in a ``repr``.
"""

import hashlib
import hmac
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from zope.interface import Attribute, implementer

from twistsmtp.later import Later

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = [
    "BearerToken",
    "ClientCertificate",
    "IBearerToken",
    "IClientCertificate",
    "IScramChecker",
    "IScramProof",
    "ScramKeys",
    "decoy_keys",
    "decoy_secret",
]


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps of a password for SCRAM (RFC 5802 section 3): enough to check it, not to log in with it."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@cache
def decoy_secret() -> bytes:
    """The same in all processes of this machine, so that neither a restart nor a second process shows which keys are
    decoys; and known to nobody outside (machine-id(5))."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with suppress(OSError):
            with open(path, "rb") as file:
                octets = file.read(100).strip()
            if octets:
                return hmac.digest(octets, b"twistsmtp: decoys", "sha256")
    return os.urandom(32)


def decoy_keys(username: str, digest: str, iterations: int) -> ScramKeys:
    """Keys that no password fits, for a user that there is not: always the same for one name, as real ones are.

    :param digest: ``"sha-1"`` or ``"sha-256"``.
    :param iterations: as many as the keys of real users have.
    """
    size = hashlib.new(digest.replace("-", "")).digest_size

    def octets(purpose: str) -> bytes:
        return hmac.digest(decoy_secret(), f"{purpose}:{digest}:{username}".encode("utf-8", "surrogatepass"), "sha512")

    return ScramKeys(octets("salt")[:16], iterations, octets("stored")[:size], octets("server")[:size])


class IScramProof(ICredentials):
    """A SCRAM exchange (RFC 5802) whose proof is to be checked."""

    username: str = Attribute("Whose password it is about; text, as RFC 4013 (SASLprep) has it.")
    digest: str = Attribute('``"sha-1"`` or ``"sha-256"``.')

    def proves(keys: ScramKeys) -> bool:  # noqa: N805  # an interface's methods have no self
        """Whether the client knows the password that *keys* are of."""


class IScramChecker(ICredentialsChecker):
    """A checker for `IScramProof`: it is asked for the keys first, then for the avatar."""

    def scram_keys(username: str, digest: str) -> Later[ScramKeys]:  # noqa: N805  # the same
        """The keys of *username*, or `decoy_keys` where there are none, now or later."""


class IBearerToken(ICredentials):
    """A token that says by itself who has it (RFC 6750)."""

    token: str = Attribute("The token.")
    username: str | None = Attribute(
        "Whom the client says it is, or ``None``. A checker that finds another owner refuses; where it is ``None`` "
        "the checker sets it to the owner that it finds."
    )


@implementer(IBearerToken)
@dataclass(slots=True, eq=False)
class BearerToken:
    """See `IBearerToken`."""

    token: str = field(repr=False)
    username: str | None


class IClientCertificate(ICredentials):
    """A client's certificate, verified against the certificate authorities when TLS began."""

    certificate: "Certificate" = Attribute("The certificate.")
    username: str = Attribute("The identity in it that the client wants to be known by.")


@implementer(IClientCertificate)
@dataclass(frozen=True, slots=True, eq=False)
class ClientCertificate:
    """See `IClientCertificate`."""

    certificate: "Certificate"
    username: str

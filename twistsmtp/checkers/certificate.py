"""``certificate:[FILE]``: certificates of clients, which EXTERNAL logs in with."""

import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from twistsmtp.later import awaited
from twistsmtp.sasl.credentials import IClientCertificate
from twistsmtp.sasl.prep import saslprep
from twistsmtp.textfile import TextFile, parse_lines

__all__ = ["CertificateChecker"]

#: Hexadecimal digits of a SHA-256 fingerprint.
_DIGITS = 64


@implementer(ICredentialsChecker)
class CertificateChecker:
    """Takes a certificate that was verified when TLS began, for the name in it that the client wants.

    With a file, only those names that stand in it, one a line, and where a fingerprint stands behind a name
    (``openssl x509 -fingerprint -sha256``), that certificate alone. Without one, every name: the authorities that
    vouch for clients then say who is a user. The avatar identifier is the name, as EXTERNAL spells it. In the file it
    may be in upper or lower case, but for what stands before an ``@``.

    :param path: of the file, which is read again when it changes.
    :param in_thread: calls a function in a thread, with arguments, and returns a Deferred.
    :param seconds: the clock.
    :raises ValueError: a line of the file is bad.
    :raises OSError: the file cannot be read.
    """

    credentialInterfaces = (IClientCertificate,)

    def __init__(
        self,
        path: str | None = None,
        *,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = TextFile(path, _parse, seconds=seconds, in_thread=in_thread) if path is not None else None

    @classmethod
    def from_options(cls, path: str | None = None) -> "CertificateChecker":
        """The checker that ``certificate:FILE`` names.

        :raises ValueError: see `CertificateChecker`.
        :raises OSError: see `CertificateChecker`.
        """
        return cls(path)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Whose credentials they are.

        :raises UnauthorizedLogin: nobody's.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    def reload(self) -> None:
        """See `Reloader`."""
        if self._file is not None:
            self._file.reload()

    async def _check(self, credentials: Any) -> bytes:
        name: str = credentials.username
        if self._file is not None:
            names = await awaited(self._file.current())
            fingerprints = names.get(_compared(name), frozenset())
            if not fingerprints.intersection(("", credentials.certificate.fingerprint(SHA256()).hex())):
                raise UnauthorizedLogin
        return name.encode()


def _compared(name: str) -> str:
    """*name* as it is compared: an address with its domain in lower case (RFC 5280 section 7.5), and all of a host or
    common name (RFC 4519 section 2.3)."""
    local, at, domain = name.rpartition("@")
    return local + at + domain.lower()


def _parse(octets: bytes) -> dict[str, frozenset[str]]:
    """The fingerprints that each name may have; ``""`` is any."""
    names: dict[str, set[str]] = {}

    def parse(line: str) -> None:
        name, *fingerprint = line.split()
        digits = "".join(fingerprint).replace(":", "").lower()
        if fingerprint and (len(fingerprint) > 1 or len(digits) != _DIGITS or set(digits) - set("0123456789abcdef")):
            raise ValueError("behind the name stands no SHA-256 fingerprint")
        names.setdefault(_compared(saslprep(name)), set()).add(digits)

    parse_lines(octets, parse)
    return {name: frozenset(fingerprints) for name, fingerprints in names.items()}

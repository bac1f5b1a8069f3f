"""How a client encrypts, and whom it believes.

============= ==================================================================================================
none          never
opportunistic STARTTLS where the far side offers it, and no certificate is looked at: against those who only listen.
              Who can change what is sent can take the encryption away, or be the far side
required      STARTTLS, and a certificate for the host that was asked for; nothing is sent without
implicit      TLS from the first octet on, and such a certificate
============= ==================================================================================================

A certificate is verified by OpenSSL against the system's authorities, or those of a file, and for the host's name by
service-identity (RFC 6125).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, optionsForClientTLS, trustRootFromCertificates
from zope.interface import implementer

from twistsmtp.tls.pem import Identity, identity_of, read, read_certificates

__all__ = ["ClientTLS", "TLSMode", "binding", "in_words"]


class TLSMode(StrEnum):
    """When a connection is encrypted; see the table above."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMPLICIT = "implicit"

    @property
    def verifies(self) -> bool:
        """Whether the far side has to show who it is."""
        return self in {TLSMode.REQUIRED, TLSMode.IMPLICIT}


@dataclass(frozen=True, slots=True)
class ClientTLS:
    """How a client encrypts.

    :param ca: the path of a file of certificates (PEM) of authorities to believe instead of the system's.
    :param certificate: the path of a file with the client's own key, certificate and chain (PEM), for servers that ask
        for one, and for EXTERNAL.
    :param options: what makes the connections instead, an ``IOpenSSLClientConnectionCreator``. What it verifies is its
        own affair, and is believed.
    :raises ValueError: a file is none of that kind, or stands beside *options*.
    :raises OSError: a file cannot be read.
    """

    mode: TLSMode = TLSMode.OPPORTUNISTIC
    ca: str = ""
    certificate: str = ""
    options: Any = None
    #: What the files hold. It makes two that are equal be equal in that as well.
    _ca_octets: bytes = field(default=b"", init=False, repr=False)
    _certificate_octets: bytes = field(default=b"", init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", TLSMode(self.mode))
        if self.options is not None:
            if self.ca or self.certificate:
                raise ValueError("options of TLS stand alone: they have authorities and a certificate of their own")
            if not IOpenSSLClientConnectionCreator.providedBy(self.options):
                raise ValueError("options of TLS are an IOpenSSLClientConnectionCreator, as optionsForClientTLS makes")
        if self.ca:
            object.__setattr__(self, "_ca_octets", read(Path(self.ca)))
            read_certificates(self._ca_octets, Path(self.ca))
        if self.certificate:
            object.__setattr__(self, "_certificate_octets", read(Path(self.certificate)))
            self._identity()

    def _identity(self) -> Identity:
        file = (Path(self.certificate), self._certificate_octets)
        return identity_of(file, file)

    def creator(self, host: str) -> Any:
        """What makes connections to *host*: an ``IOpenSSLClientConnectionCreator``. To make the first of them takes as
        long as it takes to read all authorities of the system.

        :raises ValueError: *host* is no name that could be verified, or OpenSSL does not take what it was given.
        """
        if self.options is not None:
            return self.options
        try:
            return _creator(self, host.removesuffix("."))
        except (SSL.Error, crypto.Error, UnicodeError) as error:
            raise ValueError(f"no TLS with {host!r}: {type(error).__name__}") from None

    @property
    def has_certificate(self) -> bool:
        """Whether the client can show a certificate."""
        return bool(self.certificate) or self.options is not None


@lru_cache(64)
def _creator(tls: ClientTLS, host: str) -> Any:
    extra: dict[str, Any] = {}
    if tls.certificate:
        identity = tls._identity()
        extra["privateKey"] = crypto.PKey.from_cryptography_key(identity.key)
        extra["certificate"] = crypto.X509.from_cryptography(identity.certificate)
        extra["extraCertChain"] = [crypto.X509.from_cryptography(each) for each in identity.chain]
    if not tls.mode.verifies:
        return _Unverified(CertificateOptions(**extra).getContext(), host)
    trust = None
    if tls.ca:
        authorities = read_certificates(tls._ca_octets, Path(tls.ca))
        trust = trustRootFromCertificates(Certificate(crypto.X509.from_cryptography(each)) for each in authorities)
    return optionsForClientTLS(host, trustRoot=trust, extraCertificateOptions=extra)


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Makes connections that believe any certificate."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        # RFC 6066 section 3: names, not addresses.
        self._name = None if isIPAddress(host) or isIPv6Address(host) or not host else host.encode("idna")

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802  # Twisted's name
        """Twisted's word that a connection begins."""
        connection = SSL.Connection(self._context, None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


def binding(connection: SSL.Connection, name: str) -> bytes | None:
    """The channel binding *name* (RFC 5056) as a client has it, ``None`` where there is none of it.

    :param name: ``"tls-exporter"`` (RFC 9266), with TLS 1.3 only, or ``"tls-server-end-point"`` (RFC 5929 section 4).
    """
    if name == "tls-exporter":
        if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
            return None
        return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    certificate = connection.get_peer_certificate() if name == "tls-server-end-point" else None
    if certificate is None:
        return None
    theirs = certificate.to_cryptography()
    algorithm = theirs.signature_hash_algorithm
    if algorithm is None:  # Ed25519 and the like: RFC 5929 does not define it for them
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(theirs.public_bytes(Encoding.DER))
    return digest.finalize()


def in_words(error: BaseException | None) -> str:
    """Why a handshake failed."""
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])  # OpenSSL's own words, without the routine that says them
    if isinstance(error, VerificationError):
        return "the certificate is for another host"
    return str(error) or type(error).__name__

"""What is known of the encryption of a connection: `TLS`, and the client's certificate, `Peer`.

`TLS.of` is called once a handshake and asks OpenSSL for what every log line has. What few ever ask for, the client's
certificate and the channel bindings, is looked up when it is.

**A certificate that a client sent is nobody's word.** OpenSSL's own verdict cannot be asked for here: pyOpenSSL sets
it to "verified" wherever a callback let a certificate pass, and a resumed session repeats it. So the certificate
is verified again, against the authorities of the context that the connection was made with, before it is a `Peer`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.abstract import isIPAddress, isIPv6Address

from twistsmtp.tls.names import UNREADABLE, alternative_names
from twistsmtp.wire.frozen import quick_to_make
from twistsmtp.wire.text import printable

__all__ = ["TLS", "Channel", "Known", "Peer"]

#: The names of the channel bindings that there are here.
EXPORTER = "tls-exporter"
END_POINT = "tls-server-end-point"


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """A client's certificate that was verified against the server's certificate authorities for clients."""

    certificate: x509.Certificate

    @property
    def subject(self) -> str:
        """The subject's distinguished name (RFC 4514), ``"CN=ada,O=Example"``, in printable ASCII."""
        return printable(self.certificate.subject.rfc4514_string())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in lower case hexadecimal digits."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def emails(self) -> tuple[str, ...]:
        """The e-mail addresses among its subject alternative names, as they stand there."""
        names = alternative_names(self.certificate)
        return tuple(names.get_values_for_type(x509.RFC822Name)) if names else ()

    def is_host(self, name: str) -> bool:
        """Whether it is the certificate of the host *name*: a domain or an IP address (RFC 6125, RFC 9525)."""
        is_address = isIPAddress(name) or isIPv6Address(name)
        verify = verify_certificate_ip_address if is_address else verify_certificate_hostname
        try:
            verify(self.certificate, name)
        except (VerificationError, CertificateError, *UNREADABLE):
            return False
        return True

    def __repr__(self) -> str:
        return f"<Peer {self.subject} sha256:{self.fingerprint}>"


class Channel(Protocol):
    """What a connection can be asked about itself."""

    @property
    def peer(self) -> Peer | None:
        """The client's verified certificate."""
        ...

    def binding(self, name: str) -> bytes | None:
        """The channel binding *name*; ``None`` where there is none of it."""
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A channel of which all is said beforehand, for tests."""

    peer: Peer | None = None
    bindings: Mapping[str, bytes] = field(default_factory=dict)

    def binding(self, name: str) -> bytes | None:
        """The one in `bindings`."""
        return self.bindings.get(name)


_NOTHING = Known(bindings=MappingProxyType({}))

#: Looked up here it costs a third of asking for it as text.
_VERSIONS = {SSL.TLS1_2_VERSION: "TLSv1.2", SSL.TLS1_3_VERSION: "TLSv1.3"}


@quick_to_make
@dataclass(frozen=True, slots=True)
class TLS:
    """What is known of the encryption of a connection."""

    #: As OpenSSL names it, ``"TLSv1.3"``.
    version: str
    #: As OpenSSL names it, ``"TLS_AES_256_GCM_SHA384"``.
    cipher: str
    #: The host that the client wants to speak to (SNI, RFC 6066 section 3): printable, in lower case; ``None`` if it
    #: did not say.
    server_name: str | None = None
    #: The application protocol that was agreed on (RFC 7301), printable; empty for none.
    alpn: str = ""
    channel: Channel = field(default=_NOTHING, repr=False, compare=False)

    @classmethod
    def of(cls, connection: SSL.Connection) -> "TLS":
        """The facts of *connection*, whose handshake is done. It is held for as long as they are."""
        name, alpn = connection.get_servername(), connection.get_alpn_proto_negotiated()
        return cls(
            _VERSIONS.get(connection.get_protocol_version()) or connection.get_protocol_version_name(),
            connection.get_cipher_name() or "",
            None if name is None else _text(name).lower(),
            _text(alpn) if alpn else "",
            _Live(connection),
        )

    @property
    def peer(self) -> Peer | None:
        """The client's certificate, verified; ``None`` if it sent none, or one that none of the authorities vouch for.

        Verified once, when it is first asked for; that takes a fraction of a millisecond.
        """
        return self.channel.peer

    def binding(self, name: str) -> bytes | None:
        """The channel binding *name* (RFC 5056), ``None`` where this connection has none of it.

        :param name: ``"tls-exporter"`` (RFC 9266), which there is with TLS 1.3 only: with TLS 1.2 it is safe only
            where the extended master secret was agreed on, which cannot be asked for. Or ``"tls-server-end-point"``
            (RFC 5929 section 4).
        """
        return self.channel.binding(name)


class _Live:
    """The channel of a connection that is there."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    @cached_property
    def peer(self) -> Peer | None:
        """See `TLS.peer`."""
        connection = self._connection
        store = connection.get_context().get_cert_store()
        if store is None or not connection.get_verify_mode() & SSL.VERIFY_PEER:
            return None
        certificate = connection.get_peer_certificate()
        if certificate is None or not _is_verified(store, certificate, connection.get_peer_cert_chain() or ()):
            return None
        peer = Peer(certificate.to_cryptography())
        try:
            _ = peer.subject
        except UNREADABLE:  # it is read only now
            return None
        return peer

    def binding(self, name: str) -> bytes | None:
        """See `TLS.binding`."""
        if name == EXPORTER:
            return _exporter(self._connection)
        if name == END_POINT:
            return _end_point(self._connection)
        return None


def _text(octets: bytes) -> str:
    return printable(octets.decode("ascii", "backslashreplace"))


def _exporter(connection: SSL.Connection) -> bytes | None:
    if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
        return None
    return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")


def _end_point(connection: SSL.Connection) -> bytes | None:
    certificate = connection.get_certificate()
    if certificate is None:
        return None
    ours = certificate.to_cryptography()
    try:
        algorithm = ours.signature_hash_algorithm
    except UNREADABLE:
        return None
    if algorithm is None:  # Ed25519 and the like: RFC 5929 does not define it for them
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return ours.fingerprint(algorithm)


def _is_verified(store: crypto.X509Store, certificate: crypto.X509, sent: Sequence[crypto.X509]) -> bool:
    try:
        chain = crypto.X509StoreContext(store, certificate, list(sent)).get_verified_chain()
        # That was the chain; what its certificates may be used for is not looked at there. The last one is trusted.
        return all(_may_be_a_client(each.to_cryptography()) for each in chain[:-1] or chain)
    except (crypto.X509StoreContextError, crypto.Error, *UNREADABLE):
        return False


def _may_be_a_client(certificate: x509.Certificate) -> bool:
    """Whether nothing in *certificate* says that it, or those that it issues, are for something else.

    Raises one of `UNREADABLE` where it cannot be read.
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage

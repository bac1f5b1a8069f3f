"""Certificates for tests, and handshakes in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL, crypto
from OpenSSL._util import lib
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

__all__ = [
    "Built",
    "authority",
    "build",
    "carry",
    "certificate",
    "client",
    "client_context",
    "go_on",
    "issue",
    "log_of",
    "pem",
    "shake",
    "was_resumed",
    "write",
]

EC = trustme.KeyType.ECDSA


@cache
def authority(name: str = "Test CA") -> trustme.CA:
    """A certificate authority, the same each time."""
    return trustme.CA(organization_name=name, key_type=EC)


def issue(*names: str, by: trustme.CA | None = None, **more: object) -> trustme.LeafCert:
    """A certificate for *names*: domains, addresses or mailboxes."""
    return (by or authority()).issue_cert(*names, key_type=EC, **more)  # type: ignore[arg-type]  # trustme's own


def write(path: Path, leaf: trustme.LeafCert) -> Path:
    """A file with all of *leaf* at *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    return path


def certificate(leaf: trustme.LeafCert) -> x509.Certificate:
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())


def client_context(
    client: "Built | None" = None,
    *,
    trusts: Sequence[x509.Certificate] = (),
    version: int | None = None,
    alpn: Sequence[bytes] = (),
) -> SSL.Context:
    """A context for clients, which trust the authority for tests and *trusts*, and show the certificate of *client*."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    store = context.get_cert_store()
    assert store is not None
    for each in (x509.load_pem_x509_certificate(authority().cert_pem.bytes()), *trusts):
        store.add_cert(crypto.X509.from_cryptography(each))
    context.set_verify(SSL.VERIFY_PEER)
    if version is not None:
        context.set_max_proto_version(version)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if client is not None:
        context.use_certificate(client.certificate)
        context.use_privatekey(client.key)
        for each in client.chain[:0:-1]:
            context.add_extra_chain_cert(each)
    return context


def client(name: str | None = "mx.test", context: SSL.Context | None = None) -> SSL.Connection:
    """A client's side of a handshake in memory, that wants to speak to *name*."""
    connection = SSL.Connection(context or client_context(), None)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    return connection


def shake(server: SSL.Connection, client: SSL.Connection) -> SSL.Connection:
    """Take both through the handshake, and the client through the tickets behind it.

    :returns: *server*.
    :raises SSL.Error: the first that one of them found wrong.
    """
    server.set_accept_state()
    go_on(server, client)
    with suppress(SSL.WantReadError):
        client.recv(1)
    return server


def go_on(server: SSL.Connection, client: SSL.Connection) -> None:
    """Take both through the rest of the handshake."""
    for one, other in [(client, server), (server, client)] * 4:
        try:
            one.do_handshake()
        except SSL.WantReadError:
            pass
        finally:
            carry(one, other)


def carry(one: SSL.Connection, other: SSL.Connection) -> None:
    """What *one* has to send gets to *other*."""
    with suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(1 << 16))


def was_resumed(connection: SSL.Connection) -> bool:
    """Whether it goes on with the session of an earlier one. pyOpenSSL knows, and has no word for it."""
    return bool(lib.SSL_session_reused(connection._ssl))


@contextmanager
def log_of(namespace: str = "twistsmtp.tls") -> Iterator[list[str]]:
    """The texts of the events of *namespace*, as they come."""
    texts: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == namespace:
            texts.append(f"{event['log_level'].name}: {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    try:
        yield texts
    finally:
        globalLogPublisher.removeObserver(observe)


def build(
    name: str,
    issuer: "Built | None" = None,
    *,
    ca: bool = False,
    usages: Sequence[x509.ObjectIdentifier] = (),
    sign: hashes.SHA256 | hashes.SHA384 | None = None,
    key: Any = None,
    start: datetime = datetime(2020, 1, 1, tzinfo=UTC),
    end: datetime = datetime(2099, 1, 1, tzinfo=UTC),
) -> "Built":
    """A certificate with what trustme does not let one choose; signed by itself where there is no *issuer*."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    above, signer = (issuer.certificate.subject, issuer.key) if issuer else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else sign or hashes.SHA256()
    return Built(builder.sign(signer, algorithm), key, (*issuer.chain, issuer.certificate) if issuer else ())


@dataclass(frozen=True)
class Built:
    """See `build`."""

    certificate: x509.Certificate
    key: Any
    #: From the root down.
    chain: tuple[x509.Certificate, ...]

    @property
    def key_pem(self) -> bytes:
        octets: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return octets

    @property
    def certificate_pem(self) -> bytes:
        return pem(self.certificate)

    @property
    def all_pem(self) -> bytes:
        """The key, the certificate, and those above it without the root."""
        return self.key_pem + b"".join(map(pem, (self.certificate, *self.chain[:0:-1])))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)

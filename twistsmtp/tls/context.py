"""OpenSSL contexts, as a server for the open network has them today.

TLS 1.2 and 1.3; the suites of Mozilla's "intermediate" list whose key exchange is by elliptic curves, in the server's
order; the groups that OpenSSL has by default: X25519, the NIST curves and, where it is new enough, X25519 together with
ML-KEM-768. No compression, no renegotiation. Without client certificates, and with one certificate of the server's,
there is no callback into Python.

A session ticket would stand for a client's certificate where it is shown again, without the certificates
that it was verified by. So there are tickets only where no client certificates are asked for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from OpenSSL import SSL, crypto

from twistsmtp.tls.pem import Identity

__all__ = ["ClientAuth", "Clients", "make_context"]

#: For TLS 1.2: https://wiki.mozilla.org/Security/Server_Side_TLS, version 5.7, without those that need parameters for
#: Diffie-Hellman. The suites of TLS 1.3 are all good, and those of OpenSSL.
SUITES = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)

#: The names of so many authorities are told to clients, which choose a certificate by them. All of those that a system
#: trusts would be tens of kilobytes in each handshake.
TOLD = 32


class ClientAuth(StrEnum):
    """Whether clients are asked for a certificate."""

    #: They are not.
    NONE = "none"
    #: They are, and none or one that does not verify is no hindrance; it is not believed either.
    OPTIONAL = "optional"
    #: They are, and the handshake fails without one that verifies.
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Clients:
    """How certificates of clients are treated."""

    auth: ClientAuth = ClientAuth.NONE
    #: Who may vouch for them. Need not be the root of all: whoever stands here is trusted.
    authorities: tuple[x509.Certificate, ...] = ()


def make_context(
    identity: Identity, clients: Clients, select: Callable[[SSL.Connection], None] | None = None
) -> SSL.Context:
    """A context for servers.

    :param select: called in the handshake when the client said whom it wants to speak to, or did not; it may give the
        connection another context.
    :raises ValueError: OpenSSL does not take what it was given; the text says why, in one line.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # The buffers of a connection that is idle are given back: about 34 KB.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # tickets need no cache
    # Without it a client that shows a ticket where certificates are asked for is turned away.
    context.set_session_id(b"twistsmtp")
    try:
        context.set_cipher_list(SUITES)
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        context.check_privatekey()
        for each in identity.chain:
            context.add_extra_chain_cert(each)
        if clients.auth is not ClientAuth.NONE:
            _ask_for_certificates(context, clients)
    except (SSL.Error, crypto.Error) as error:
        raise ValueError(f"OpenSSL does not take it: {_reasons(error)}") from None
    if select is not None:
        context.set_tlsext_servername_callback(select)
    return context


def _ask_for_certificates(context: SSL.Context, clients: Clients) -> None:
    context.set_options(SSL.OP_NO_TICKET)
    store = context.get_cert_store()
    if store is None:
        raise ValueError("OpenSSL has no store for certificates")
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for each in clients.authorities:
        store.add_cert(crypto.X509.from_cryptography(each))
    if len(clients.authorities) <= TOLD:
        for each in clients.authorities:
            context.add_client_ca(each)
    if clients.auth is ClientAuth.REQUIRED:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    else:
        context.set_verify(SSL.VERIFY_PEER, _let_pass)


def _let_pass(*_: object) -> bool:
    """Let the handshake go on; `twistsmtp.tls.facts` is where the certificate is verified."""
    return True


def _reasons(error: Exception) -> str:
    """Why OpenSSL raised *error*."""
    entries: Iterable[tuple[str, str, str]] = error.args[0] if error.args else ()
    return ", ".join(reason for _, _, reason in entries) or "for no reason that it gives"

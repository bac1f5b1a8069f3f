"""PEM files (RFC 7468): a private key, its certificate, and the chain of those that vouch for it.

The blocks may stand in any order, with any text between them. No error says anything of a key but what is wrong with
it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from twistsmtp.tls.names import UNREADABLE, alternative_names

__all__ = ["Identity", "PrivateKey", "identity_of", "read", "read_certificates"]

#: The kinds of keys that TLS has.
PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

#: Octets of a file. All certificate authorities that a system trusts are about a quarter of it.
GREATEST = 1 << 20

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Identity:
    """What a server shows that it is who it says it is by."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    #: Those that vouch for the certificate, each for the one before it, without the root.
    chain: tuple[x509.Certificate, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The hosts that it is for, in lower case, perhaps with ``*`` as the first label (RFC 9525 section 6.3)."""
        names = alternative_names(self.certificate)
        if names is None:
            # A certificate that somebody made in the way of earlier days.
            common = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            return tuple(str(each.value).lower() for each in common)
        return tuple(each.lower() for each in names.get_values_for_type(x509.DNSName))


def read(path: Path) -> bytes:
    """The octets of the file at *path*.

    :raises OSError: it cannot be read.
    :raises ValueError: it is too large for a PEM file.
    """
    with path.open("rb") as file:
        octets = file.read(GREATEST + 1)
    if len(octets) > GREATEST:
        raise ValueError(f"{path}: it is larger than a PEM file ever is")
    return octets


def read_certificates(octets: bytes, path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates in *octets*, of which there is at least one.

    :param path: where they are from, for the error.
    :raises ValueError: there is none, or one cannot be read.
    """
    blocks = [block.group() for block in _blocks(octets, path) if block[1] in {b"CERTIFICATE", b"X509 CERTIFICATE"}]
    if not blocks:
        raise ValueError(f"{path}: there is no certificate in it")
    try:
        certificates = tuple(map(x509.load_pem_x509_certificate, blocks))
        for each in certificates:
            each.public_key(), each.subject, each.issuer
    except UNREADABLE:
        raise ValueError(f"{path}: a certificate in it cannot be read") from None
    return certificates


def identity_of(certificates: tuple[Path, bytes], key: tuple[Path, bytes]) -> Identity:
    """What the octets of two files make; the two may be the same.

    :raises ValueError: something is missing or cannot be read, or the two do not belong together. The text names the
        file.
    """
    private = _private_key(key[1], key[0])
    found = read_certificates(certificates[1], certificates[0])
    public = _spki(private)
    leaf = next((each for each in found if _spki(each) == public), None)
    if leaf is None:
        raise ValueError(f"{key[0]}: the private key is not that of a certificate in {certificates[0]}")
    return Identity(leaf, private, tuple(_chain(leaf, found)))


def _blocks(octets: bytes, path: Path) -> list[re.Match[bytes]]:
    blocks = list(_BLOCK.finditer(octets))
    if not blocks:
        raise ValueError(f"{path}: it is not a PEM file")
    return blocks


def _private_key(octets: bytes, path: Path) -> PrivateKey:
    keys = [block for block in _blocks(octets, path) if block[1].endswith(b"PRIVATE KEY")]
    if not keys:
        raise ValueError(f"{path}: there is no private key in it")
    if len(keys) > 1:
        raise ValueError(f"{path}: there are {len(keys)} private keys in it, where one should be")
    block = keys[0].group()
    if keys[0][1] == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block:
        raise ValueError(f"{path}: the private key is protected by a passphrase; a server needs it without")
    try:
        # Whether the numbers of an RSA key are primes takes up to half a second, which the reactor does not have.
        # That it is the key of its certificate is looked at, by us and by OpenSSL. If a number is wrong all the same,
        # no handshake tells the key: what OpenSSL computes by way of the primes it checks before it uses it.
        key = load_pem_private_key(block, None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, *UNREADABLE):
        raise ValueError(f"{path}: the private key in it cannot be read") from None
    if not isinstance(key, PrivateKey):
        raise ValueError(f"{path}: the private key in it is of a kind that TLS does not have")
    return key


def _spki(whose: Any) -> bytes:
    octets: bytes = whose.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


def _chain(leaf: x509.Certificate, found: Iterable[x509.Certificate]) -> Iterable[x509.Certificate]:
    """Those of *found* that lead from *leaf* upwards. The root is left out: a client has it, or does not trust it."""
    others = [each for each in found if each.issuer != each.subject and each != leaf]
    issuer = leaf.issuer
    while above := next((each for each in others if each.subject == issuer), None):
        others.remove(above)
        issuer = above.issuer
        yield above

"""A certificate for development, made in one command::

    python -m twistsmtp.tls.development [FOLDER|FILE] [NAME...]

It is for ``localhost``, 127.0.0.1, ::1 and the names given, for 30 days, signed by itself; nobody trusts it who is not
told to. One that is there and good for another day is left as it is, and anything else that is there is not touched.
The path is printed.

Such a certificate says what it is in its subject. `is_development` tells it from a real one, so that a server can
refuse to show it to the world.
"""

import os
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twistsmtp.tls.pem import Identity, identity_of, read

__all__ = ["is_development", "main", "make_development_certificate"]

NAME = "development.pem"
MARK = "twistsmtp development certificate, not for production"
#: How long it is valid, and how long one that is there has to be.
VALID, LEFT = timedelta(days=30), timedelta(days=1)

#: In ASCII; the first label may be ``*``.
_DOMAIN = re.compile(r"(\*\.)?(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE | re.ASCII)


def is_development(certificate: x509.Certificate) -> bool:
    """Whether *certificate* was made here."""
    return any(each.value == MARK for each in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))


def make_development_certificate(path: Path, names: Sequence[str] = ()) -> Path:
    """Make a certificate and its key, unless there is one that will do.

    :param path: a file whose name ends in ``.pem``, or a folder for it; folders are made.
    :param names: domains and IP addresses besides those of this machine.
    :returns: the file's path. Only its owner can read it.
    :raises OSError: it cannot be written.
    :raises ValueError: something else is there, or a name is none.
    """
    if path.is_dir() or path.suffix != ".pem":
        path = path / NAME
    wanted = [_general_name(name) for name in dict.fromkeys(("localhost", "127.0.0.1", "::1", *names))]
    if not (path.exists() and _will_do(path, wanted)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, _make(wanted))
    return path


def _general_name(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    if not _DOMAIN.fullmatch(name):
        raise ValueError(f"{name!r} is neither a domain nor an IP address")
    return x509.DNSName(name.lower())


def _will_do(path: Path, wanted: Sequence[x509.GeneralName]) -> bool:
    """Whether what is at *path* need not be made again.

    :raises ValueError: it was not made here, and is not to be written over.
    """
    octets = read(path)
    certificate = identity_of((path, octets), (path, octets)).certificate
    if not is_development(certificate):
        raise ValueError(f"{path}: there is a certificate that is none for development; it is left as it is")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(wanted) <= set(names) and certificate.not_valid_after_utc > datetime.now(UTC) + LEFT


def _make(names: Sequence[x509.GeneralName]) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "localhost"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, MARK)]
    )
    only_to_sign = (True, *[False] * 8)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(*only_to_sign), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Identity(builder.sign(key, hashes.SHA256()), key)


def _write(path: Path, identity: Identity) -> None:
    """Write it whole or not at all. A temporary file is its owner's alone from its first moment on."""
    key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(key + identity.certificate.public_bytes(Encoding.PEM))
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def main(arguments: Sequence[str]) -> int:
    """The command.

    :returns: its exit status.
    """
    where, *names = arguments or ["."]
    if where in {"-h", "--help"}:
        sys.stdout.write(__doc__ or "")
        return 0
    try:
        path = make_development_certificate(Path(where), names)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

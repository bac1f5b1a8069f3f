"""EXTERNAL (RFC 4422 appendix A): who has a certificate need prove nothing more.

TLS has verified it; here is only whom it names. It names its subject alternative names, and its common name only where
it has none of them (RFC 9525 section 2).
"""

import re
from typing import TYPE_CHECKING

from twistsmtp.sasl.api import Context, Denied, Exchange, Mechanism, ask, log_in
from twistsmtp.sasl.credentials import ClientCertificate, IClientCertificate
from twistsmtp.sasl.prep import LIMIT, prepared, saslprep

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["MECHANISM"]

#: Of all that service-identity takes for the name of one host, one spelling.
_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def _names(certificate: "Certificate") -> tuple[list[str], list[str], list[str]]:
    """The e-mail addresses and host names in *certificate*; and the common names, unless it has alternative names."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        attributes = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [], [], [each.value for each in attributes if isinstance(each.value, str)]
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Denied("the certificate cannot be read") from error
    return names.get_values_for_type(x509.RFC822Name), names.get_values_for_type(x509.DNSName), []


def _has_host(certificate: "Certificate", host: str) -> bool:
    from service_identity import CertificateError, VerificationError
    from service_identity.cryptography import verify_certificate_hostname

    try:
        verify_certificate_hostname(certificate, host)
    except (VerificationError, CertificateError, ValueError):
        return False
    return True


def _address(mailbox: str) -> tuple[str, str]:
    """*mailbox* as it is compared: the local part as it is, the domain in lower case (RFC 5280 section 7.5)."""
    local, _, domain = mailbox.rpartition("@")
    return local, domain.lower()


def _own_identity(certificate: "Certificate") -> str:
    """The identity of *certificate* where the client names none: the first of the best kind."""
    addresses, hosts, common_names = _names(certificate)
    # Who may act for all hosts of a domain has to say which.
    hosts = [host.lower() for host in hosts if "*" not in host]
    return next(iter((*addresses, *hosts, *common_names)), "")


def _asked_identity(certificate: "Certificate", asked: str) -> str:
    """The identity *asked* for, as *certificate* spells it; or ``""``."""
    addresses, _, common_names = _names(certificate)
    if asked in common_names:
        return asked
    if "@" in asked:
        return next((each for each in addresses if _address(each) == _address(asked)), "")
    return asked.lower() if _HOST.fullmatch(asked) and _has_host(certificate, asked) else ""


def _external(context: Context) -> Exchange:
    message = yield from ask()
    asked = prepared(message, "authorization identity") if message else None
    if context.certificate is None:
        raise Denied("no certificate")
    certificate = context.certificate
    identity = _own_identity(certificate) if asked is None else _asked_identity(certificate, asked)
    if not _is_name(identity):
        raise Denied("no such name in the certificate")
    yield from log_in(ClientCertificate(certificate, identity), identity)


def _is_name(identity: str) -> bool:
    """Whether *identity* is one that a client could have asked for."""
    try:
        return bool(identity) and saslprep(identity) == identity and len(identity.encode()) <= LIMIT
    except ValueError:
        return False


def _usable(context: Context) -> bool:
    return context.certificate is not None


MECHANISM = Mechanism(name="EXTERNAL", start=_external, interface=IClientCertificate, usable=_usable)

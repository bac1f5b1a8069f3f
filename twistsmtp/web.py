"""What all who ask web servers have in common: URLs that are fit for secrets, and whom to trust."""

from typing import Any
from urllib.parse import urlsplit

__all__ = ["checked_url", "place", "trust_root"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def place(url: str) -> str:
    """*url* without what may be a secret: its query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def checked_url(url: str, *, insecure: bool = False) -> str:
    """*url*, if it is one to send secrets to.

    :param insecure: whether it may be ``http:`` where that is not this machine.
    :raises ValueError: it is not; the text does not show it.
    """
    problem = "it is no URL with http or https, a host and no user in it"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(problem) from None
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or "@" in parts.netloc
        or not (url.isascii() and url.isprintable() and " " not in url)
    ):
        raise ValueError(problem)
    if parts.scheme == "http" and host not in _LOOPBACK and not insecure:
        raise ValueError("http is not encrypted: use https, or say insecure=yes")
    return url


def trust_root(path: str) -> Any:
    """The authorities in a file of certificates (PEM), to trust instead of the system's.

    :raises ValueError: the file has no certificate.
    :raises OSError: the file cannot be read.
    """
    from OpenSSL.crypto import Error
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    with open(path, "rb") as file:
        parts = file.read().split(b"-----BEGIN CERTIFICATE-----")[1:]
    try:
        certificates = [Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + each) for each in parts]
    except (Error, ValueError):
        certificates = []
    if not certificates:
        raise ValueError(f"{path} is no file of certificates")
    return trustRootFromCertificates(certificates)

"""The certificate and the accounts of a server under test."""

import tempfile
from collections.abc import Mapping
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse

from twistsmtp.limits import Limits
from twistsmtp.portals import portal_for
from twistsmtp.security import Security
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.development import make_development_certificate

__all__ = ["LIMITS", "certificate", "security_for"]

#: All clients are this machine, and a test is not to wait for what it gets wrong on purpose.
LIMITS = Limits(auth_delay=0, auth_failures_per_client=1_000_000, connections_per_client=Limits().connections)


@cache
def certificate() -> bytes:
    """A certificate for ``localhost``, 127.0.0.1 and ::1, with its key, as PEM; the same one for all of the process."""
    with tempfile.TemporaryDirectory(prefix="twistsmtp-testing-") as folder:
        return make_development_certificate(Path(folder)).read_bytes()


@cache
def _certificates() -> Certificates:
    """The same as a server has it, without a file that it would have to look at again."""
    with tempfile.TemporaryDirectory(prefix="twistsmtp-testing-") as folder:
        path = Path(folder, "server.pem")
        path.write_bytes(certificate())
        return Certificates(path, every=inf)


def security_for(delivery: Any, *, tls: bool, accounts: Mapping[str, str] | None) -> Security:
    """What the connections share.

    :param delivery: of those who authenticate.
    :param tls: whether there is the certificate.
    :param accounts: passwords by user name. If there are any, mail is taken from nobody else; without TLS, too, as no
        connection leaves the machine.
    """
    settings: dict[str, Any] = {}
    if tls:
        settings["tls"] = _certificates()
    if accounts:
        checker: Any = InMemoryUsernamePasswordDatabaseDontUse()
        checker.users = {name.encode(): password.encode() for name, password in accounts.items()}
        settings |= {"portal": portal_for(delivery, checker), "require_auth": True, "plaintext_auth": True}
    return Security(**settings)

"""The fixtures of `twistsmtp.testing.pytest_plugin`: each is a `MailServer` on a port of its own, in a thread.

They are there without being imported, unless another plugin has a fixture of the same name. Then that one is what a
test gets; to have ours, import it in ``conftest.py``::

    from twistsmtp.testing.fixtures import smtpd
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twistsmtp.testing.server import MailServer

__all__ = ["smtpd", "smtpd_accounts", "smtpd_auth", "smtpd_tls"]

_NO_THREAD = (
    "pytest-twisted runs tests in the reactor's own thread, where they would wait for a server that waits for them: "
    "run these with -p no:twisted, or use twistsmtp.testing.MemoryServer"
)


def _serve(request: pytest.FixtureRequest, **settings: Any) -> "Iterator[MailServer]":
    if any(getattr(each, "__name__", "") == "pytest_twisted" for each in request.config.pluginmanager.get_plugins()):
        pytest.fail(_NO_THREAD, pytrace=False)
    from twistsmtp.testing.server import MailServer

    with MailServer(**settings) as server:
        yield server


@pytest.fixture
def smtpd(request: pytest.FixtureRequest) -> "Iterator[MailServer]":
    """A server that takes mail from everybody."""
    yield from _serve(request)


@pytest.fixture
def smtpd_tls(request: pytest.FixtureRequest) -> "Iterator[MailServer]":
    """The same with a certificate: STARTTLS on ``port``, TLS from the first octet on ``tls_port``."""
    yield from _serve(request, tls=True)


@pytest.fixture
def smtpd_accounts() -> dict[str, str]:
    """The passwords by user name that `smtpd_auth` takes. Write a fixture of this name to have others."""
    return {"user": "secret"}


@pytest.fixture
def smtpd_auth(request: pytest.FixtureRequest, smtpd_accounts: dict[str, str]) -> "Iterator[MailServer]":
    """A server that takes mail only from who has authenticated; with a certificate, as `smtpd_tls`."""
    yield from _serve(request, tls=True, accounts=smtpd_accounts)

"""Fixtures for pytest: a mail server for each test that asks for one.

The plugin is there as soon as twistsmtp is installed; nothing is to be switched on, and nothing but this module is
imported before a test asks for a server. Each is a `MailServer` on a port of its own, so tests may run beside each
other (pytest-xdist), and it is in a thread of its own, so the test may be a coroutine (pytest-asyncio)::

    def test_welcome(smtpd):
        send_welcome("ada@example.net", smtpd.host, smtpd.port)
        [message] = smtpd.wait_for()
        assert message.email["Subject"] == "Welcome"
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twistsmtp.testing.server import MailServer

__all__ = ["smtpd", "smtpd_accounts", "smtpd_auth", "smtpd_tls"]


def _serve(**settings: Any) -> "Iterator[MailServer]":
    from twistsmtp.testing.server import MailServer

    with MailServer(**settings) as server:
        yield server


@pytest.fixture
def smtpd() -> "Iterator[MailServer]":
    """A server that takes mail from everybody."""
    yield from _serve()


@pytest.fixture
def smtpd_tls() -> "Iterator[MailServer]":
    """The same with a certificate: STARTTLS on ``port``, TLS from the first octet on ``tls_port``."""
    yield from _serve(tls=True)


@pytest.fixture
def smtpd_accounts() -> dict[str, str]:
    """The passwords by user name that `smtpd_auth` takes. Write a fixture of this name to have others."""
    return {"user": "secret"}


@pytest.fixture
def smtpd_auth(smtpd_accounts: dict[str, str]) -> "Iterator[MailServer]":
    """A server that takes mail only from who has authenticated; with a certificate, as `smtpd_tls`."""
    yield from _serve(tls=True, accounts=smtpd_accounts)

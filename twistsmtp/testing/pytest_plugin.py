"""Fixtures for pytest: a mail server for each test that asks for one.

The plugin is there as soon as twistsmtp is installed; nothing is to be switched on, and nothing but this module and
`twistsmtp.testing.fixtures` is imported before a test asks for a server. Each test has a server of its own, so tests
may run beside each other (pytest-xdist), and it is in a thread, so the test may be a coroutine (pytest-asyncio)::

    def test_welcome(smtpd):
        send_welcome("ada@example.net", smtpd.host, smtpd.port)
        [message] = smtpd.wait_for()
        assert message.email["Subject"] == "Welcome"

smtpdfix has a fixture ``smtpd`` as well. To install a server is no reason for the tests of somebody who uses that to
run against another one: so a fixture is offered only where no other plugin that is installed has one of its name.
"""

from types import ModuleType

import pytest

from twistsmtp.testing import fixtures

__all__ = ["pytest_configure"]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Pytest's word that all plugins are known."""
    plugins = [plugin for plugin, _ in config.pluginmanager.list_plugin_distinfo()]
    offered = ModuleType("twistsmtp fixtures")
    for name in fixtures.__all__:
        if not any(hasattr(plugin, name) for plugin in plugins):
            setattr(offered, name, getattr(fixtures, name))
    config.pluginmanager.register(offered, offered.__name__)

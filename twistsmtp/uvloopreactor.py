"""Twisted's asyncio reactor on uvloop's event loop: ``twistd --reactor uvloop smtp``.

An application says, before anything else imports the reactor::

    from twistsmtp import uvloopreactor

    uvloopreactor.install()

Mail alone gains nothing by it, as a `twistsmtp.hub` has most of what an event loop does. It is for an application
whose other half wants uvloop.
"""

try:
    import uvloop
except ImportError as error:
    raise ImportError("uvloop is not installed (pip install 'twistsmtp[uvloop]')") from error

__all__ = ["install"]


def install() -> None:
    """Make it the process's reactor.

    :raises ReactorAlreadyInstalledError: there is one.
    """
    from twisted.internet import asyncioreactor

    asyncioreactor.install(uvloop.new_event_loop())

"""aiosmtpd 1.4.6's API over our protocol: ``sed s/aiosmtpd/twistsmtp.compat.aiosmtpd/`` is the migration.

How it is made. A server of aiosmtpd's is a protocol of asyncio's, one for each connection, which programs subclass and
hand to ``loop.create_server``. Ours is one, too: `smtp.SMTP` is what they see, and behind it stands an `engine.Engine`,
which is our protocol (`twistsmtp.protocol.SMTPProtocol`) on a transport of asyncio's. The engine has what is hard:
lines and limits, one command at a time, messages, TLS, and the ways in which a connection ends. The methods and hooks
are called in tasks of asyncio's, and may await Deferreds as well.
"""

import asyncio
import warnings

__all__ = ["__version__"]

#: The version whose API this is.
__version__ = "1.4.6"


def _get_or_new_eventloop() -> asyncio.AbstractEventLoop:
    """The loop of this thread, a new one if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return asyncio.get_event_loop()
        except (DeprecationWarning, RuntimeError):
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            return loop

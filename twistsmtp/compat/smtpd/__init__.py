"""The ``smtpd`` that left Python in 3.12, over our protocol.

::

    from twistsmtp.compat import smtpd       # import smtpd

    class Printer(smtpd.SMTPServer):
        def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
            print(mailfrom, rcpttos, len(data))

    server = Printer(("localhost", 8025), None)
    smtpd.loop()                             # asyncore.loop()

How it is made. A server has a socket that it accepts connections from, and a channel for each connection:
`SMTPChannel`, whose methods ``smtp_X`` are the commands, as in the original. Behind a channel stands a
`twistsmtp.compat.methods.Engine`, which is our protocol; it cuts lines and messages, and sees to the limits. The
reactor takes asyncore's place: `loop` runs it in the thread that calls.
"""

import socket
import sys
from typing import Any

from twistsmtp.compat.smtpd.channel import SMTPChannel
from twistsmtp.compat.smtpd.command import Options, main, parseargs, usage
from twistsmtp.compat.smtpd.loops import close_all, loop, socket_map
from twistsmtp.compat.smtpd.proxies import MailmanProxy, PureProxy
from twistsmtp.compat.smtpd.server import DebuggingServer, SMTPServer
from twistsmtp.compat.smtpd.values import COMMASPACE, DATA_SIZE_DEFAULT, NEWLINE, Devnull, __version__

__all__ = [
    "COMMASPACE",
    "DATA_SIZE_DEFAULT",
    "DEBUGSTREAM",
    "NEWLINE",
    "DebuggingServer",
    "Devnull",
    "MailmanProxy",
    "Options",
    "PureProxy",
    "SMTPChannel",
    "SMTPServer",
    "__version__",
    "close_all",
    "loop",
    "main",
    "parseargs",
    "program",
    "socket",
    "socket_map",
    "usage",
]

program = sys.argv[0]
#: Where debugging prints go: programs put a file here. (So they do with `socket`, in their tests.)
DEBUGSTREAM: Any = Devnull()

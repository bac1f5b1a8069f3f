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

import socket as socket
import sys
from typing import Any

from twistsmtp.compat.smtpd.channel import SMTPChannel
from twistsmtp.compat.smtpd.command import Options as Options
from twistsmtp.compat.smtpd.command import main as main
from twistsmtp.compat.smtpd.command import parseargs as parseargs
from twistsmtp.compat.smtpd.command import usage as usage
from twistsmtp.compat.smtpd.loops import close_all as close_all
from twistsmtp.compat.smtpd.loops import loop as loop
from twistsmtp.compat.smtpd.loops import socket_map as socket_map
from twistsmtp.compat.smtpd.proxies import MailmanProxy, PureProxy
from twistsmtp.compat.smtpd.server import DebuggingServer, SMTPServer
from twistsmtp.compat.smtpd.values import COMMASPACE as COMMASPACE
from twistsmtp.compat.smtpd.values import DATA_SIZE_DEFAULT as DATA_SIZE_DEFAULT
from twistsmtp.compat.smtpd.values import NEWLINE as NEWLINE
from twistsmtp.compat.smtpd.values import Devnull as Devnull
from twistsmtp.compat.smtpd.values import __version__ as __version__

# What ``from smtpd import *`` gave. The other names are there, too.
__all__ = ["DebuggingServer", "MailmanProxy", "PureProxy", "SMTPChannel", "SMTPServer"]

program = sys.argv[0]
#: Where debugging prints go: programs put a file here. (So they do with `socket`, in their tests.)
DEBUGSTREAM: Any = Devnull()

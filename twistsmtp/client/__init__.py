"""An asynchronous client of SMTP and LMTP, which stands alone.

::

    from twistsmtp.client import send

    result = await send(
        "ada@example.org",
        ["bob@example.net", "eve@example.net"],
        message,
        host="mail.example.org",
        username="ada",
        password=password,
    )
    for verdict in result.refused:
        print(verdict.recipient, verdict.reply)

`send` has a connection of its own for each message. `Pool` and `send_to` keep connections; `ClientTransaction` is for
who has a message in pieces.
"""

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import (
    AuthError,
    BadMessage,
    ClientError,
    ConnectError,
    ConnectionLost,
    NotOffered,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    TimedOut,
    TLSError,
)
from twistsmtp.client.message import envelope_of
from twistsmtp.client.opening import Connector
from twistsmtp.client.pool import Pool
from twistsmtp.client.sending import destination_of, send, send_to
from twistsmtp.client.stuffing import crlf
from twistsmtp.client.timeouts import Timeouts
from twistsmtp.client.tls import ClientTLS, TLSMode
from twistsmtp.client.transaction import ClientTransaction
from twistsmtp.client.verdict import Result, Verdict
from twistsmtp.sasl.client_api import Credentials

__all__ = [
    "AuthError",
    "BadMessage",
    "Capabilities",
    "ClientError",
    "ClientTLS",
    "ClientTransaction",
    "ConnectError",
    "ConnectionLost",
    "Connector",
    "Credentials",
    "Destination",
    "NotOffered",
    "OutcomeUnknown",
    "Pool",
    "ProtocolError",
    "Refused",
    "Result",
    "TLSError",
    "TLSMode",
    "TimedOut",
    "Timeouts",
    "Verdict",
    "crlf",
    "destination_of",
    "envelope_of",
    "send",
    "send_to",
]

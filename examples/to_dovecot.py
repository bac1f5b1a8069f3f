"""Mail handed to Dovecot, which knows its users: to_dovecot.py [SOCKET] [ENDPOINT]"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import RelayRule, SMTPFactory
from twistsmtp.client import Destination
from twistsmtp.delivery.lmtp import LMTP

ENDPOINT = "tcp:8025:interface=127.0.0.1"


async def main(reactor: object, socket: str = "/run/dovecot/lmtp", endpoint: str = ENDPOINT) -> None:
    """Serve until the process is stopped. Whom Dovecot refuses, the client is told is refused, and why."""
    delivery = LMTP(Destination(path=socket, lmtp=True))
    factory = SMTPFactory(delivery, policies=[RelayRule(["localhost", "example.org"])])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""Each message as a POST to a web server, signed with a secret: webhook.py URL SECRET-FILE [ENDPOINT]"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Limits, RelayRule, SMTPFactory
from twistsmtp.delivery.webhook import Webhook


async def main(reactor: object, url: str, secret: str, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped. What the web server says of a message, the client is told."""
    delivery = Webhook(url, secret=secret, timeout=20)
    limits = Limits(message_size=10 * 1024 * 1024)
    factory = SMTPFactory(delivery, policies=[RelayRule(["localhost", "example.org"])], limits=limits)
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

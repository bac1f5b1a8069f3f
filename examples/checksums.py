"""Messages of any size, looked at while they come: checksums.py [ENDPOINT]"""

import sys
from hashlib import sha256

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Limits, MailStream, Reply, SMTPFactory, StreamCallback


async def on_mail(mail: MailStream) -> Reply:
    """Called when a message begins. While this waits for something else than octets, no more of them are read."""
    checksum, size = sha256(), 0
    async for octets in mail:
        checksum.update(octets)
        size += len(octets)
    return Reply(250, "2.0.0", f"{size} octets, SHA-256 {checksum.hexdigest()}")


async def main(reactor: object, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    delivery = StreamCallback(on_mail)
    delivery.wants_received = False  # what is looked at is what the client has sent, and nothing else
    factory = SMTPFactory(delivery, limits=Limits(message_size=10 * 1024**3, data_time=24 * 3600))
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""Messages of any size, looked at while they come: checksums.py [ENDPOINT]"""

import sys
from hashlib import sha256

from twistsmtp import Limits, MailStream, Reply, SMTPFactory, StreamCallback, serve


async def on_mail(mail: MailStream) -> Reply:
    """Called when a message begins. While this waits for something else than octets, no more of them are read."""
    checksum, size = sha256(), 0
    async for octets in mail:
        checksum.update(octets)
        size += len(octets)
    return Reply(250, "2.0.0", f"{size} octets, SHA-256 {checksum.hexdigest()}")


if __name__ == "__main__":
    delivery = StreamCallback(on_mail)
    delivery.wants_received = False  # what is looked at is what the client has sent, and nothing else
    limits = Limits(message_size=10 * 1024**3, data_time=24 * 3600)
    serve(SMTPFactory(delivery, limits=limits), *sys.argv[1:])

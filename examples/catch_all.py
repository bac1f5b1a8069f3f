"""All mail of a domain for a function: catch_all.py [ENDPOINT]"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Callback, Mail, RelayRule, SMTPFactory


async def on_mail(mail: Mail) -> None:
    """What the application does with a message. When this returns, the client is told that it was taken."""
    recipients = ", ".join(map(str, mail.envelope.recipients))
    print(f"{mail.email['Subject']!r} from {mail.envelope.reverse_path} for {recipients}", flush=True)


async def main(reactor: object, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    factory = SMTPFactory(Callback(on_mail), policies=[RelayRule(["localhost", "example.org"])])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""A server with two names, and a certificate for each (SNI): two_names.py CERTIFICATE CERTIFICATE [ENDPOINT]"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Callback, Certificates, Mail, Security, SMTPFactory


def on_mail(mail: Mail) -> None:
    """Each name may be another's."""
    tls = mail.session.tls
    print(f"by way of {tls.server_name if tls else 'no name'}: {mail.email['Subject']!r}", flush=True)


async def main(reactor: object, one: str, other: str, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped. A client that wants another name, or none, is shown the first one."""
    factory = SMTPFactory(Callback(on_mail), security=Security(tls=Certificates(one, other)))
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

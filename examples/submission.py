"""A submission server, whose users send by a smarthost: submission.py CERTIFICATE ACCOUNTS SMARTHOST [ENDPOINT]

A smarthost is 'relay:smtp.example.net:587:tls=required:username=shop:password-file=/etc/secret', for one.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Certificates, PasswdFile, Security, SMTPFactory, portal_for
from twistsmtp.delivery.find import make_delivery


async def main(reactor: object, certificate: str, accounts: str, smarthost: str, endpoint: str = "tcp:8587") -> None:
    """Serve until the process is stopped. What the smarthost says of a message, the user is told."""
    portal = portal_for(make_delivery(smarthost), PasswdFile(accounts))
    security = Security(tls=Certificates(certificate), portal=portal, require_tls=True, require_auth=True)
    factory = SMTPFactory(security=security)
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

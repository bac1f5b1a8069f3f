"""A submission server, whose users send by a smarthost: submission.py CERTIFICATE ACCOUNTS SMARTHOST [ENDPOINT]

A smarthost is 'relay:smtp.example.net:587:tls=required:username=shop:password-file=/etc/secret', for one.
"""

import sys
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from zope.interface import implementer

from twistsmtp import Certificates, Delivery, Security, SMTPFactory
from twistsmtp.checkers.passwd_file import PasswdFile
from twistsmtp.delivery.api import IDelivery
from twistsmtp.delivery.find import make_delivery


@implementer(IRealm)
class Users:
    """Whose mail goes to the smarthost."""

    def __init__(self, smarthost: Delivery) -> None:
        self.smarthost = smarthost

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Any:
        """Where mail goes of a client who has proved who it is."""
        return IDelivery, self.smarthost, lambda: None


async def main(reactor: object, certificate: str, accounts: str, smarthost: str, endpoint: str = "tcp:8587") -> None:
    """Serve until the process is stopped. What the smarthost says of a message, the user is told."""
    portal = Portal(Users(make_delivery(smarthost)), [PasswdFile(accounts)])
    security = Security(tls=Certificates(certificate), portal=portal, require_tls=True, require_auth=True)
    factory = SMTPFactory(security=security)
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

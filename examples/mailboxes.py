"""A Maildir for each user, and accounts to write from: mailboxes.py CERTIFICATE ACCOUNTS FOLDER [ENDPOINT]

python -m twistsmtp.passwd ACCOUNTS ada makes an account, mkdir -p FOLDER/ada/{cur,new,tmp} her mailbox.
"""

import sys
from typing import Any

from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from zope.interface import implementer

from twistsmtp import Certificates, Maildir, Policy, Refusal, RelayRule, ReversePath, Security, Session, SMTPFactory
from twistsmtp.checkers.passwd_file import PasswdFile
from twistsmtp.delivery.api import IDelivery


@implementer(IRealm)
class Users(Policy):
    """Users write to each other's Maildirs, under their own address."""

    def __init__(self, maildirs: Maildir) -> None:
        self.maildirs = maildirs

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Any:
        """Where mail goes of a client who has proved who it is."""
        return IDelivery, self.maildirs, lambda: None

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        """See `Policy`."""
        if str(reverse_path).lower() != f"{session.identity}@example.org":
            raise Refusal(session.replies.sender_not_owned)


async def main(reactor: object, certificate: str, accounts: str, folder: str, endpoint: str = "tcp:8587") -> None:
    """Serve until the process is stopped. Who has not logged in under TLS gets nowhere."""
    users = Users(Maildir(f"{folder}/{{local}}"))
    portal = Portal(users, [PasswdFile(accounts)])
    security = Security(tls=Certificates(certificate), portal=portal, require_tls=True, require_auth=True)
    factory = SMTPFactory(security=security, policies=[RelayRule(["example.org"]), users])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""A Maildir for each user, and accounts to write from: mailboxes.py CERTIFICATE ACCOUNTS FOLDER [ENDPOINT]

python -m twistsmtp.passwd ACCOUNTS ada makes an account, mkdir -p FOLDER/ada/{cur,new,tmp} her mailbox.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import (
    Certificates,
    Maildir,
    PasswdFile,
    Policy,
    Refusal,
    RelayRule,
    ReversePath,
    Security,
    Session,
    SMTPFactory,
    portal_for,
)


class OwnAddress(Policy):
    """Users write under their own address."""

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        """See `Policy`."""
        if str(reverse_path).lower() != f"{session.identity}@example.org":
            raise Refusal(session.replies.sender_not_owned)


async def main(reactor: object, certificate: str, accounts: str, folder: str, endpoint: str = "tcp:8587") -> None:
    """Serve until the process is stopped. Who has not logged in under TLS gets nowhere."""
    portal = portal_for(Maildir(f"{folder}/{{local}}"), PasswdFile(accounts))
    security = Security(tls=Certificates(certificate), portal=portal, require_tls=True, require_auth=True)
    factory = SMTPFactory(security=security, policies=[RelayRule(["example.org"]), OwnAddress()])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

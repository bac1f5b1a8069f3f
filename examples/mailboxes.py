"""A Maildir for each user, and accounts to write from: mailboxes.py CERTIFICATE ACCOUNTS FOLDER [ENDPOINT]

python -m twistsmtp.passwd ACCOUNTS ada makes an account, mkdir -p FOLDER/ada/{cur,new,tmp} her mailbox.
"""

import sys

import twistsmtp


class OwnAddress(twistsmtp.Policy):
    """Users write under their own address."""

    def mail(self, session: twistsmtp.Session, reverse_path: twistsmtp.ReversePath) -> None:
        """See `Policy`."""
        if str(reverse_path).lower() != f"{session.identity}@example.org":
            raise twistsmtp.Refusal(session.replies.sender_not_owned)


def mailboxes(certificate: str, accounts: str, folder: str) -> twistsmtp.SMTPFactory:
    """The server. Who has not logged in under TLS gets nowhere."""
    portal = twistsmtp.portal_for(twistsmtp.Maildir(f"{folder}/{{local}}"), twistsmtp.PasswdFile(accounts))
    tls = twistsmtp.Certificates(certificate)
    security = twistsmtp.Security(tls=tls, portal=portal, require_tls=True, require_auth=True)
    return twistsmtp.SMTPFactory(security=security, policies=[twistsmtp.RelayRule(["example.org"]), OwnAddress()])


if __name__ == "__main__":
    twistsmtp.serve(mailboxes(*sys.argv[1:4]), *sys.argv[4:])

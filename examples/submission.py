"""A submission server, whose users send by a smarthost: submission.py CERTIFICATE ACCOUNTS SMARTHOST [ENDPOINT]

A smarthost is 'relay:smtp.example.net:587:tls=required:username=shop:password-file=/etc/secret', for one.
"""

import sys

from twistsmtp import Certificates, PasswdFile, Security, SMTPFactory, portal_for, serve
from twistsmtp.delivery.find import make_delivery


def submission(certificate: str, accounts: str, smarthost: str) -> SMTPFactory:
    """The server. What the smarthost says of a message, the user is told."""
    portal = portal_for(make_delivery(smarthost), PasswdFile(accounts))
    security = Security(tls=Certificates(certificate), portal=portal, require_tls=True, require_auth=True)
    return SMTPFactory(security=security)


if __name__ == "__main__":
    serve(submission(*sys.argv[1:4]), *sys.argv[4:])

"""Mail handed to Dovecot, which knows its users: to_dovecot.py [SOCKET] [ENDPOINT]"""

import sys

from twistsmtp import RelayRule, SMTPFactory, serve
from twistsmtp.client import Destination
from twistsmtp.delivery.lmtp import LMTP

if __name__ == "__main__":
    socket, *endpoint = sys.argv[1:] or ["/run/dovecot/lmtp"]
    # Whom Dovecot refuses, the client is told is refused, and why.
    delivery = LMTP(Destination(path=socket, lmtp=True))
    serve(SMTPFactory(delivery, policies=[RelayRule(["localhost", "example.org"])]), *endpoint)

"""Each message as a POST to a web server, signed with a secret: webhook.py URL SECRET-FILE [ENDPOINT]"""

import sys

from twistsmtp import Limits, RelayRule, SMTPFactory, serve
from twistsmtp.delivery.webhook import Webhook

if __name__ == "__main__":
    url, secret, *endpoint = sys.argv[1:]
    # What the web server says of a message, the client is told.
    delivery = Webhook(url, secret=secret, timeout=20)
    limits = Limits(message_size=10 * 1024 * 1024)
    serve(SMTPFactory(delivery, policies=[RelayRule(["localhost", "example.org"])], limits=limits), *endpoint)

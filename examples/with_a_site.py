"""SMTP in front of a site of twisted.web: mail appears on its page. with_a_site.py [ENDPOINT] [ENDPOINT-OF-SITE]"""

import sys
from collections import deque
from html import escape

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from twistsmtp import Callback, Limits, Mail, RelayRule, SMTPFactory

page, messages = Data(b"", "text/html; charset=utf-8"), deque[str](maxlen=100)


async def on_mail(mail: Mail) -> None:
    """Put a message on the page, which has the last hundred."""
    messages.appendleft(f"<h2>{escape(mail.email['Subject'] or 'No subject')}</h2><pre>{escape(mail.text)}</pre>")
    page.data = "".join(messages).encode()


async def main(reactor: object, smtp: str = "tcp:8025", web: str = "tcp:8080") -> None:
    """Serve both until the process is stopped."""
    site = Resource()
    site.putChild(b"", page)
    policies, limits = [RelayRule(["localhost"])], Limits(message_size=100_000)
    mail = SMTPFactory(Callback(on_mail), policies=policies, limits=limits)
    for endpoint, factory in ((smtp, mail), (web, Site(site))):
        port = await serverFromString(reactor, endpoint).listen(factory)
        print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""SMTP in front of a site of twisted.web: mail appears on its page. with_a_site.py [ENDPOINT] [ENDPOINT-OF-SITE]"""

import sys
from collections import deque
from html import escape

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from twistsmtp import Callback, Limits, Mail, RelayRule, SMTPFactory


class Board(Resource):
    """The page, with the last hundred messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: deque[str] = deque(maxlen=100)

    def render_GET(self, request: Request) -> bytes:  # noqa: N802  # twisted.web's name
        """What a browser is shown."""
        return b"<!DOCTYPE html><meta charset=utf-8><title>Board</title>" + "".join(self.messages).encode()

    async def on_mail(self, mail: Mail) -> None:
        """Put a message on the page."""
        subject = mail.email["Subject"] or "No subject"
        self.messages.appendleft(f"<h2>{escape(subject)}</h2><pre>{escape(mail.text)}</pre>")


async def main(reactor: object, smtp: str = "tcp:8025", web: str = "tcp:8080") -> None:
    """Serve both until the process is stopped."""
    site, board = Resource(), Board()
    site.putChild(b"", board)
    policies, limits = [RelayRule(["localhost"])], Limits(message_size=100_000)
    mail = SMTPFactory(Callback(board.on_mail), policies=policies, limits=limits)
    for endpoint, factory in ((smtp, mail), (web, Site(site))):
        port = await serverFromString(reactor, endpoint).listen(factory)
        print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""Replies of one's own: a help desk that tells clients the number of their ticket. own_words.py [ENDPOINT]"""

import sys
from dataclasses import replace
from itertools import count

from twistsmtp import Callback, Catalogue, Mail, Recipient, Refusal, Reply, Session, SMTPFactory, serve

#: What the server says in place of its own words; `Catalogue` has all of them.
WORDS = replace(
    Catalogue(),
    greeting=Reply(220, "", "{hostname} is at your service"),
    bye=Reply(221, "2.0.0", "We are glad to help"),
)
NOT_A_DESK = Reply(550, "5.1.1", "Only the help desk reads mail here")
tickets = count(1)


def on_rcpt(session: Session, recipient: Recipient) -> None:
    """A refusal is a reply that is raised."""
    if recipient.mailbox.local != "help":
        raise Refusal(NOT_A_DESK)


async def on_mail(mail: Mail) -> Reply:
    """What the client is told is what this returns."""
    return Reply(250, "2.0.0", f"Your ticket is number {next(tickets)}")


if __name__ == "__main__":
    serve(SMTPFactory(Callback(on_mail, on_rcpt=on_rcpt), hostname="desk.example.org", replies=WORDS), *sys.argv[1:])

"""A mailing list, whose members write to all of them: mailing_list.py HOST PORT MEMBER,MEMBER… [ENDPOINT]"""

import sys
from dataclasses import replace

from twistsmtp import Policy, Recipient, Refusal, Relay, Reply, ReversePath, Session, SMTPFactory, parse_mailbox, serve
from twistsmtp.client import Destination
from twistsmtp.delivery.api import DeliveryTransaction

OWNER = parse_mailbox("friends-owner@example.org")


class Friends(Policy):
    """friends@example.org is all of its *members*. If one of them is refused, nobody gets the message."""

    def __init__(self, members: str) -> None:
        self.members = [parse_mailbox(each) for each in members.split(",")]

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        """See `Policy`."""
        if str(recipient).lower() != "friends@example.org":
            raise Refusal(session.replies.mailbox_unknown)
        if session.current.reverse_path.mailbox not in self.members:
            raise Refusal(Reply(550, "5.7.2", "This list is for its members"))
        session.redirect(*self.members)


class FromTheList(Relay):
    """Who runs the list hears of what cannot be delivered, and not who wrote (RFC 5321 section 3.9.2)."""

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """See `Delivery`."""
        return super().begin(session, replace(reverse_path, mailbox=OWNER))


if __name__ == "__main__":
    host, port, members, *endpoint = sys.argv[1:]
    serve(SMTPFactory(FromTheList(Destination(host=host, port=int(port))), policies=[Friends(members)]), *endpoint)

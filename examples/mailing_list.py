"""A mailing list, whose members write to all of them: mailing_list.py HOST PORT MEMBER,MEMBER… [ENDPOINT]"""

import sys
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Mailbox, Policy, Recipient, Refusal, Reply, ReversePath, Session, SMTPFactory, parse_mailbox
from twistsmtp.client import Destination
from twistsmtp.delivery.api import DeliveryTransaction
from twistsmtp.delivery.relay import Relay

OWNER = parse_mailbox("friends-owner@example.org")


class Friends(Policy):
    """friends@example.org is all of its *members*. If one of them is refused, nobody gets the message."""

    def __init__(self, members: list[Mailbox]) -> None:
        self.members = members

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        """See `Policy`."""
        if str(recipient).lower() != "friends@example.org":
            raise Refusal(session.replies.mailbox_unknown)
        if session.current.reverse_path.mailbox not in self.members:
            raise Refusal(Reply(550, "5.7.2", "This list is for its members"))
        session.redirect(*self.members)


class FromTheList(Relay):
    """Who runs the list hears of what cannot be delivered, and not who wrote (RFC 5321 section 3.9.2)."""

    async def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """See `Delivery`."""
        return await super().begin(session, replace(reverse_path, mailbox=OWNER))


async def main(reactor: object, host: str, port: str, members: str, endpoint: str = "tcp:8025") -> None:
    """Serve until the process is stopped."""
    policy = Friends([parse_mailbox(each) for each in members.split(",")])
    factory = SMTPFactory(FromTheList(Destination(host=host, port=int(port))), policies=[policy])
    listening = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", listening.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

"""Recipients that a function knows, asked while others are served: this machine's users. local_users.py [ENDPOINT]"""

import pwd
import sys
from collections.abc import Awaitable, Callable

from twisted.internet.threads import deferToThread

from twistsmtp import Discard, Policy, Recipient, Refusal, Session, SMTPFactory, serve


class KnownRecipients(Policy):
    """Refuses the recipients that *is_known* does not know."""

    def __init__(self, is_known: Callable[[str], Awaitable[bool]]) -> None:
        self.is_known = is_known

    async def rcpt(self, session: Session, recipient: Recipient) -> None:
        """The client waits for its reply meanwhile; all others are served."""
        if not await self.is_known(recipient.mailbox.local):
            raise Refusal(session.replies.mailbox_unknown)


async def is_user(name: str) -> bool:
    """Whether this machine has a user of that *name*. It may ask a directory, so it does that in a thread."""
    return name in [user.pw_name for user in await deferToThread(pwd.getpwall)]


if __name__ == "__main__":
    serve(SMTPFactory(Discard(), policies=[KnownRecipients(is_user)]), *sys.argv[1:])

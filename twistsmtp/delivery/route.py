"""Mail that goes to one delivery or another, by the recipient.

In a configuration it is a table; what it has no line for goes to ``delivery``, unless there is a line for ``*``::

    [route]
    "example.org" = "maildir:/var/mail/{domain}/{local}:create=yes"
    "lists@example.net" = "program:/usr/local/bin/lists {recipient}"
    "*" = "lmtp:unix:/run/dovecot/lmtp"

The line that fits a recipient most exactly counts: that of the address; that of the address without ``+`` and what is
behind it in the local branch; that of the domain; that of ``*``. The case of addresses does not matter, and domains may
be in U-labels or A-labels. A recipient without a domain, which is only ``<postmaster>``, has the server's own name as
its domain.

Each delivery has the message for those recipients that are its own. `twistsmtp.delivery.branches` has the rule for what
is said when one of them takes it and another one does not. With ``route-apart = true`` it does not come to that: over
SMTP, which has one reply for all of them, a message goes to one delivery then (`twistsmtp.delivery.apart`).
"""

from collections.abc import Mapping, Sequence

from twistsmtp.addresskeys import EVERYWHERE, Key, comparable_local, keys_of
from twistsmtp.delivery.apart import Apart
from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Recipient, Refusal, ReversePath, Session
from twistsmtp.delivery.branches import Branch, Branches, Several
from twistsmtp.wire.grammar import GrammarError, Mailbox, parse_mailbox

__all__ = ["EVERYBODY", "Route", "parse_pattern"]

#: The pattern of all recipients that no other pattern fits.
EVERYBODY = "*"


class Route(Several):
    """Gives a message to the deliveries of its recipients.

    :param routes: deliveries by pattern: a domain, an address, or ``*``. One may be there more than once.
    :param default: for recipients that no pattern fits. Without one, they are refused (550 5.1.1).
    :param apart: whether over SMTP recipients of another delivery have the message by itself.
    :raises ValueError: a pattern is none, two are the same, or there is no delivery.
    """

    def __init__(self, routes: Mapping[str, Delivery], default: Delivery | None = None, *, apart: bool = False) -> None:
        self._routes: dict[Key, Delivery] = {}
        for pattern, delivery in routes.items():
            key = parse_pattern(pattern)
            if key in self._routes:
                raise ValueError(f"{pattern} is there twice")
            self._routes[key] = delivery
        if default is not None and self._routes.setdefault(EVERYWHERE, default) is not default:
            raise ValueError(f"{EVERYBODY} leaves nothing for a default")
        super().__init__(self._routes.values())
        #: Whether recipients of several deliveries are kept apart.
        self.apart = apart

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Take mail from anybody: a delivery is asked when it is known to have a recipient."""
        return _Routed(self, session, reverse_path)

    def find(self, mailbox: Mailbox, hostname: str) -> Delivery | None:
        """The delivery for *mailbox*, if there is one.

        :param hostname: the domain of those that have none.
        """
        placed = mailbox if mailbox.domain else Mailbox(mailbox.local, hostname)
        keys = (*keys_of(placed), EVERYWHERE)
        return next((self._routes[key] for key in keys if key in self._routes), None)


def parse_pattern(text: str) -> Key:
    """The key of a pattern.

    :raises ValueError: *text* is neither a domain, nor an address, nor ``*``.
    """
    if text == EVERYBODY:
        return EVERYWHERE
    try:
        mailbox = parse_mailbox(text if "@" in text else f"postmaster@{text}")
    except GrammarError:
        raise ValueError(f"{text!r} is not a domain, an address or {EVERYBODY}") from None
    return (comparable_local(mailbox.local) if "@" in text else None), mailbox.host


class _Routed(Branches):
    """One message for the deliveries of its recipients."""

    def __init__(self, route: Route, session: Session, reverse_path: ReversePath) -> None:
        super().__init__(session, with_received=not route.wants_received)
        self._route = route
        self._reverse_path = reverse_path
        self._by_delivery: dict[Delivery, Branch] = {}
        self._apart = Apart(session, wanted=route.apart)

    async def rcpt(self, recipient: Recipient) -> None:
        """Take whom a delivery is for, and takes."""
        delivery = self._find(recipient)
        if delivery is None:
            raise Refusal(self._session.replies.mailbox_unknown)
        branch = self._by_delivery.get(delivery)
        if any(each is not branch and each.has_recipients for each in self.branches):
            self._apart.check()
        if branch is None:
            branch = Branch(delivery, self._session, self._reverse_path, optional=False)
            await branch.begin()
            self._by_delivery[delivery] = branch
            self.branches.append(branch)
        await branch.rcpt(recipient)
        self._apart.taken()

    def assign(self, recipients: Sequence[Recipient]) -> None:
        """Each branch has those that are routed to it."""
        deliveries = [self._find(each) for each in recipients]
        for delivery, branch in self._by_delivery.items():
            branch.own = [index for index, each in enumerate(deliveries) if each is delivery]

    def _find(self, recipient: Recipient) -> Delivery | None:
        return self._route.find(recipient.mailbox, self._session.hostname)

"""The relay rule: a client that is nobody in particular reaches only the domains that are configured."""

from collections.abc import Iterable

from twistsmtp.envelope import Recipient
from twistsmtp.policy.api import Policy
from twistsmtp.policy.user import user_of
from twistsmtp.session import Session
from twistsmtp.wire.grammar import GrammarError, parse_mailbox
from twistsmtp.wire.reply import Refusal

__all__ = ["RelayRule"]


class RelayRule(Policy):
    """Refuses every recipient outside of *domains*.

    :param domains: names in any case, as U-labels or A-labels, or address literals in brackets; ``"*"`` takes mail
        for every domain, which is right for a server that only collects and wrong for one that relays.
    :param authenticated: whether users, who have authenticated, reach every domain. Those whom SASL ANONYMOUS let in
        are no users.
    :raises GrammarError: one of them is no domain.
    """

    def __init__(self, domains: Iterable[str], *, authenticated: bool = False) -> None:
        names = set(domains)
        self.anywhere = "*" in names
        self.hosts = frozenset(parse_mailbox(f"postmaster@{name}").host for name in names - {"*"})
        self.authenticated = authenticated

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        """Refuse *recipient*, unless it is ours, or the client's to choose."""
        mailbox = recipient.mailbox
        if mailbox.domain.lower() in self.hosts:  # as nearly all are written
            return
        # <postmaster> alone has no domain and is always ours (RFC 5321 section 4.5.1).
        if self.anywhere or not mailbox.domain or mailbox.host in self.hosts:
            return
        if self.authenticated and user_of(session) is not None:
            return
        raise Refusal(session.replies.relay_denied)

    def is_ours(self, address: str) -> bool:
        """Whether mail for *address* is taken from anybody; one without a domain is ours."""
        if self.anywhere or "@" not in address:
            return True
        try:
            return parse_mailbox(address).host in self.hosts
        except GrammarError:
            return False

"""Mail that goes to several deliveries at once.

In a configuration, several deliveries are a tee::

    delivery = ["webhook:https://app.example.org/mail", "maildir:/srv/archive"]

All of them have to take a message: `twistsmtp.delivery.branches` has the rule. They are asked and committed in their
order, so those that may refuse stand in front, and what takes everything stands last.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from twistsmtp.delivery.api import Delivery, DeliveryTransaction, Recipient, Refusal, ReversePath, Session
from twistsmtp.delivery.branches import Branch, Branches, Several

__all__ = ["Must", "Tee"]

#: Which deliveries of a `Tee` must take a message: see there.
Must = Literal["all", "first"]


class Tee(Several):
    """Gives each message to several deliveries.

    :param deliveries: at least one.
    :param must: ``"all"``: a message, or a recipient, is taken when all of them take it. ``"first"``: when the first
        does; what another one does not take it does not get, and only the log says so.
    :raises ValueError: there is no delivery, or *must* is neither.
    """

    def __init__(self, deliveries: Iterable[Delivery], *, must: Must = "all") -> None:
        if must not in get_args(Must):
            raise ValueError(f"must is {' or '.join(get_args(Must))}, not {must!r}")
        super().__init__(deliveries)
        self._must = must

    async def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """Take mail from whom all take it that must.

        :raises Refusal: one of these does not.
        """
        branches = _Teed(session, with_received=not self.wants_received)
        try:
            for each in self.deliveries:
                branch = Branch(each, session, reverse_path, optional=self._must == "first" and bool(branches.branches))
                branches.branches.append(branch)
                try:
                    await branch.begin()
                except Exception:
                    branches.skip(branch, Failure())
        except BaseException:
            branches.abort()
            raise
        return branches


class _Teed(Branches):
    """One message for all of them."""

    async def rcpt(self, recipient: Recipient) -> None:
        """Take whom all take that must."""
        for branch in self.branches:
            if branch.refused is None:
                try:
                    await branch.rcpt(recipient)
                except Refusal as error:
                    # That it is one too many for one message is no reason to do without it: the client comes again.
                    if not branch.optional or error.reply is self._session.replies.too_many_recipients:
                        raise
                except Exception:
                    self.skip(branch, Failure())

    def skip(self, branch: Branch, failure: Failure) -> None:
        """Go on without *branch*, if that may be.

        :raises Exception: it may not.
        """
        if not branch.optional or failure.check(CancelledError):
            failure.raiseException()
        branch.fail(failure)

    def assign(self, recipients: Sequence[Recipient]) -> None:
        """Each branch has those that it took."""
        for branch in self.branches:
            branch.own = [
                index for index, each in enumerate(recipients) if branch.refused is None and branch.takes(each)
            ]

"""Mail handed to a server that keeps it, by LMTP (RFC 2033): ``lmtp:HOST:PORT`` and ``lmtp:unix:PATH``.

As `Relay` does, but that the far side has a word for each recipient behind the message: one mailbox that is full does
not keep the others from their mail. A client that speaks LMTP is told each word; over SMTP there is room for one.
"""

from collections.abc import Callable, Sequence

from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import Refused
from twistsmtp.client.pool import Pool
from twistsmtp.client.transaction import ClientTransaction
from twistsmtp.client.verdict import Verdict
from twistsmtp.delivery.api import DeliveryTransaction, Session
from twistsmtp.delivery.relay import Relay, Relayed, destination_from_options, pool_from_options, said
from twistsmtp.wire.reply import Reply

__all__ = ["LMTP"]


class LMTP(Relay):
    """Hands mail to an LMTP server.

    :param destination: where to, and how.
    :param pool: keeps the connections; one of its own if none is given.
    :raises ValueError: the destination speaks SMTP.
    """

    def __init__(self, destination: Destination, *, pool: Pool | None = None) -> None:
        if not destination.lmtp:
            raise ValueError("the destination of LMTP speaks LMTP")
        super().__init__(destination, pool=pool)

    @classmethod
    def from_options(cls, host: str, port: str, **options: str) -> "LMTP":
        """The delivery that ``lmtp:HOST:PORT`` or ``lmtp:unix:PATH`` with these options names.

        :raises ValueError: an option is wrong.
        :raises OSError: a file cannot be read.
        """
        pool = pool_from_options(options)
        if host == "unix":
            return cls(destination_from_options("", "24", port, options, lmtp=True), pool=pool)
        return cls(destination_from_options(host, port, "", options, lmtp=True), pool=pool)

    def _made(
        self, transaction: ClientTransaction, session: Session, give_back: Callable[[], object]
    ) -> DeliveryTransaction:
        return _Handed(transaction, session, self._destination, give_back)


class _Handed(Relayed):
    """One mail on its way, with a word for each recipient."""

    async def _commit(self) -> Sequence[Verdict]:
        try:
            return await super()._commit()
        except Refused as error:
            if not error.verdicts:
                raise
            return error.verdicts  # each may be another

    def _answer(self, verdicts: Sequence[Verdict]) -> Sequence[Reply]:
        return tuple(said(each.reply) for each in verdicts)

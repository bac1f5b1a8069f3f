"""Mail handed to a server that keeps it, by LMTP (RFC 2033): ``lmtp:HOST:PORT`` and ``lmtp:unix:PATH``.

As `Relay` does, but that the far side has a word for each recipient behind the message: one mailbox that is full does
not keep the others from their mail. A client that speaks LMTP is told each word. Over SMTP there is room for one, or
each recipient has the message by itself: `twistsmtp.delivery.apart`.
"""

from collections.abc import Sequence

from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import Refused
from twistsmtp.client.pool import Pool
from twistsmtp.client.verdict import Verdict
from twistsmtp.delivery.apart import Apart
from twistsmtp.delivery.api import DeliveryTransaction, Recipient, ReversePath, Session
from twistsmtp.delivery.relay import Relay, Relayed, destination_from_options, pool_from_options, said
from twistsmtp.makers import yes_or_no
from twistsmtp.wire.reply import Reply

__all__ = ["LMTP"]


class LMTP(Relay):
    """Hands mail to an LMTP server.

    :param destination: where to, and how.
    :param pool: keeps the connections; one of its own if none is given.
    :param apart: whether each recipient has the message by itself over SMTP. Else a client is told one word for all of
        them: the first that is temporary, else the first that refuses.
    :raises ValueError: the destination speaks SMTP.
    """

    def __init__(self, destination: Destination, *, pool: Pool | None = None, apart: bool = False) -> None:
        if not destination.lmtp:
            raise ValueError("the destination of LMTP speaks LMTP")
        super().__init__(destination, pool=pool)
        self._apart = apart

    @classmethod
    def from_options(cls, host: str, port: str, *, apart: str = "no", **options: str) -> "LMTP":
        """The delivery that ``lmtp:HOST:PORT`` or ``lmtp:unix:PATH`` with these options names.

        :raises ValueError: an option is wrong.
        :raises OSError: a file cannot be read.
        """
        pool = pool_from_options(options)
        where = ("", "24", port) if host == "unix" else (host, port, "")
        destination = destination_from_options(*where, options, lmtp=True)
        return cls(destination, pool=pool, apart=yes_or_no("apart", apart))

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        """See `Relay.begin`."""
        return _Handed(self, session, reverse_path, Apart(session, wanted=self._apart))


class _Handed(Relayed):
    """One mail on its way, with a word for each recipient."""

    def __init__(self, relay: Relay, session: Session, reverse_path: ReversePath, apart: Apart) -> None:
        super().__init__(relay, session, reverse_path)
        self._apart = apart

    async def rcpt(self, recipient: Recipient) -> None:
        """The far side's word is ours, where the recipient is not to be apart from others."""
        self._apart.check()
        await super().rcpt(recipient)
        self._apart.taken()

    async def _commit(self) -> Sequence[Verdict]:
        try:
            return await super()._commit()
        except Refused as error:
            if not error.verdicts:
                raise
            return error.verdicts  # each may be another

    def _answer(self, verdicts: Sequence[Verdict]) -> Sequence[Reply]:
        return tuple(said(each.reply) for each in verdicts)

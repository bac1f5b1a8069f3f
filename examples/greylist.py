"""A policy of one's own: strangers are told to come again. greylist.py [SECONDS] [ENDPOINT]"""

import sys

from twistsmtp import Discard, Policy, Recipient, Refusal, Reply, Session, SMTPFactory, serve


class Greylist(Policy):
    """Mail servers come again when they are asked to, most senders of spam do not (RFC 6647).

    :param delay: seconds until a client may write to a recipient for a sender.
    :param most: how many such triplets are remembered.
    """

    def __init__(self, delay: float, most: int = 100_000) -> None:
        self.delay, self.most = delay, most
        self.first_seen: dict[tuple[str, str, str], float] = {}

    def rcpt(self, session: Session, recipient: Recipient) -> None:
        """See `Policy`."""
        triplet = (session.network, str(session.current.reverse_path).lower(), str(recipient).lower())
        now = session.seconds()
        since = self.first_seen.setdefault(triplet, now)
        if len(self.first_seen) > self.most:
            del self.first_seen[next(iter(self.first_seen))]
        if now - since < self.delay:
            raise Refusal(Reply(450, "4.7.1", f"We have not met: come again in {self.delay:.0f} seconds"))


if __name__ == "__main__":
    seconds, *endpoint = sys.argv[1:] or ["60"]
    serve(SMTPFactory(Discard(), policies=[Greylist(float(seconds))]), *endpoint)

"""What the tests of `twistsmtp.cred` share."""

from base64 import b64decode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import USER, WRONG, plain
from tests.scripted import Script
from tests.support import Client, Server
from twistsmtp.policy.api import Policy
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["ID", "NO", "NOT_RIGHT", "RIGHT", "TOO_MANY", "AuthPolicy", "CredTestCase", "Oops", "challenge_of"]

RIGHT, NOT_RIGHT, TOO_MANY = "235 2.7.0", "535 5.7.8", "421 4.7.0"
ID = USER.encode()
NO = Refusal(Reply(550, "5.7.1", "Not today"))


class Oops(Exception):
    """What nobody meant to raise."""


class AuthPolicy(Policy):
    """Asked about identities only, in the step ``policy_auth``."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.identities: list[str] = []

    def auth(self, session: Session, identity: str) -> Any:
        self.identities.append(identity)
        return self.script.play("policy_auth", lambda: None)


def challenge_of(reply: str) -> bytes:
    """The octets of a challenge."""
    return b64decode(reply[4:], validate=True)


class CredTestCase(SynchronousTestCase):
    def connect(self, server: Server, peer: Any = "192.0.2.1") -> Client:
        return server.connect(peer).hello()

    def guess(self, client: Client, message: str = plain(WRONG)) -> tuple[float, list[str]]:
        """Try a wrong password.

        :returns: the seconds that it took to be told so, in steps of 1/8, and the replies.
        """
        clock = client.server.clock
        since = clock.seconds()
        replies = client.codes(f"AUTH PLAIN {message}")
        while not replies and clock.seconds() < since + 60:
            clock.advance(0.125)
            replies = client.codes()
        return clock.seconds() - since, replies

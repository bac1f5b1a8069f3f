"""Files that policies read, and clients of servers that have them."""

import os
from pathlib import Path

from twisted.internet.task import Clock

from tests.support import Client, Server
from twistsmtp.policy.api import Policy

__all__ = ["MapFile", "begun", "known", "offers"]


class MapFile:
    """A file, and the clock by which it is looked at again."""

    def __init__(self, path: str, text: str = "") -> None:
        self.path = Path(path).absolute()
        self.path.write_text(text)
        self.clock = Clock()

    def change(self, text: str) -> None:
        """Have it say something else, that is seen as soon as somebody asks."""
        self.path.write_text(text)
        time = self.path.stat().st_mtime_ns + 10**9
        os.utime(self.path, ns=(time, time))
        self.clock.advance(1)


def known(client: Client, user: str) -> Client:
    """*client*, which has proved that it is *user*."""
    client.session.authenticated(user, client.session.delivery, lambda: None)
    return client


def begun(*policies: Policy, sender: str = "a@client.test", peer: str = "192.0.2.1", **settings: object) -> Client:
    """A client of a server with *policies* that has begun a transaction."""
    client = Server(policies=policies, **settings).connect(peer).hello()
    client.say(f"MAIL FROM:<{sender}> SMTPUTF8")
    return client


def offers(client: Client, *senders: str) -> list[str]:
    """What MAIL gets from each of *senders*."""
    codes = []
    for sender in senders:
        codes += client.codes(f"MAIL FROM:<{sender}>")
        client.say("RSET")
    return codes

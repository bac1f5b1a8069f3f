"""What the tests of checkers share: hashes that other programs made, and a web server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, cast

from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer, reactor
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site

from twistsmtp.checkers.web import Web

PASSWORD = "Correct horse 7!"

#: Hashes of PASSWORD, by the command that made them (apache2-utils 2.4, dovecot-core 2.3, whois 5.5, PostgreSQL 15),
#: with the scheme that they are of.
MADE = {
    "doveadm pw -s ARGON2ID -r 3": (
        "argon2",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$QuB81UTB4evg5KRZbFLz+Q$+a8vCrwzEKmBg9vT+j0rq1skcIvz1Y769m3TUYpanxk",
    ),
    "doveadm pw -s ARGON2I": (
        "argon2",
        "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$iAPLphhxu5MT4ezKynwK7w$b0qOKwreMXchzhDCpF0lxP9kfVpabeOz7ltjHKeOoD4",
    ),
    "htpasswd -nbB -C 5": ("bcrypt", "$2y$05$3DUD1efYHLKFSn215B0bHelAlIfmrJTdM4xtOjuNfeQDdJdcn81hu"),
    "doveadm pw -s BLF-CRYPT -r 5": (
        "bcrypt",
        "{BLF-CRYPT}$2y$05$oDjhMXU8U4zlyWSQ4TUaruwdb.QDVA5Q2K3w5N9rffFdovoxC3iYy",
    ),
    "htpasswd -nb5": (
        "sha512-crypt",
        "$6$8Xh1lwVL1I1TysSk$o06RZ./3kOZz598yPWjkZUJh9v4uTrAKfqrH1p8soyhLkpuzGhAR/BtgWdw9vUSe2gcBkKIkkKvc6U3xAEy.5.",
    ),
    "doveadm pw -s SHA512-CRYPT": (
        "sha512-crypt",
        (
            "{SHA512-CRYPT}$6$MaXyoCKB.4QAxDmq$z1rGNFih7ZZlQD60yYhz1RPK1QOhnC0VLGmF/TULVgI73ge2K.3jTo9qjnU3FXBAYs8q5urFF0kwD"
            "i31mk6hy0"
        ),
    ),
    "mkpasswd -m sha-512 -R 5000": (
        "sha512-crypt",
        "$6$ktNOl7CPof7xEizo$R5FIL5NFo3GuFg6I.DCPhmqSYDyQkhEeEhRhtdCUcOqtnqNHrCCekiyd9f6gkR9lLZKxEqLA1X9.ziN4cjyZH1",
    ),
    "htpasswd -nb2": ("sha256-crypt", "$5$EhjX.xACpwxY6Q5J$Nb5HF2ko/NDRXJgzz6s0PXp3wi7T4dAJLE9.U3I2JVB"),
    "doveadm pw -s SHA256-CRYPT": (
        "sha256-crypt",
        "{SHA256-CRYPT}$5$V0qGEm5rezW6Xzdd$NhVqP8/CwaFEuoC.mfUzZhpBFVh5BjIBnsk06nCtNgD",
    ),
    "htpasswd -nb": ("apr1", "$apr1$7xlm3W.5$0SMytGEV3QNpKKcSFHkW40"),
    "htpasswd -nbs": ("sha1", "{SHA}Z9hsa+vLAYryzFKck+z9/x4J0uM="),
    "doveadm pw -s SCRAM-SHA-256": (
        "scram-sha-256",
        (
            "{SCRAM-SHA-256}4096,PVHq3QcAdYFjoqnSOVY8bg==,LddOVGk0iVwoCo6hmChsm+an/aw03flH1qJ1MCJDgMI=,"
            "g29PXDBjNkCBr6aWUjcx6WDb/LBpRvqd4OTkfBdrjxU="
        ),
    ),
    "doveadm pw -s SCRAM-SHA-1": (
        "scram-sha-1",
        "{SCRAM-SHA-1}4096,FffG1L+oqToRVzP7vQj6Gw==,AfxRlMq8E+sjZw9xYmiUSol+okA=,3Ezh+DJLTskOYz6Tf6eOPDpqWy4=",
    ),
    "create role ... password (PostgreSQL)": (
        "scram-sha-256",
        (
            "SCRAM-SHA-256$4096:Z3xoYDEiW7dkloRTTGnfEA==$6xGl0v7RQkut6KJwp211yE4Js/5GY31xXiyv88EEuAI=:"
            "3LNBXwfU30oi609FvVpuzmxJWWtNmnptGNPp5Ts6mZc="
        ),
    ),
}
#: Quick ones, that need no library.
SHA1 = MADE["htpasswd -nbs"][1]
SCRAM_256 = MADE["doveadm pw -s SCRAM-SHA-256"][1]
SCRAM_1 = MADE["doveadm pw -s SCRAM-SHA-1"][1]
#: The module that each scheme takes.
NEEDS = {
    "argon2": "argon2",
    "bcrypt": "bcrypt",
    "sha512-crypt": "passlib",
    "sha256-crypt": "passlib",
    "apr1": "passlib",
}


def need(*modules: str) -> None:
    """Skip the test where one of these is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise SkipTest(f"{module} is not installed")


def at_once(function: Callable[..., Any], *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
    """In place of a thread."""
    return defer.execute(function, *args, **kwargs)


class Threads:
    """In place of threads: what is called in one waits until it is told to run."""

    def __init__(self) -> None:
        self.begun: list[tuple[defer.Deferred[Any], Callable[[], Any]]] = []
        self.calls = 0

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> defer.Deferred[Any]:
        self.calls += 1
        done: defer.Deferred[Any] = defer.Deferred()
        self.begun.append((done, lambda: function(*args, **kwargs)))
        return done

    def run(self) -> None:
        """Run all that has begun."""
        begun, self.begun = self.begun, []
        for done, work in begun:
            try:
                result = work()
            except Exception:
                done.errback(Failure())
            else:
                done.callback(result)


async def refused(deferred: Any) -> None:
    """Wait for a login to be refused.

    :raises AssertionError: it is not.
    """
    try:
        result = await deferred
    except UnauthorizedLogin as error:
        if str(error):
            raise AssertionError(f"an error that says {error}") from None
        return
    raise AssertionError(f"accepted: {result!r}")


class Log:
    """All that is logged while a test runs, in text."""

    def __init__(self, case: Any) -> None:
        self._capture = capturedLogs()
        self._events: Sequence[LogEvent] = self._capture.__enter__()
        case.addCleanup(self._capture.__exit__, None, None, None)

    def __str__(self) -> str:
        parts = [formatEvent(each) for each in self._events]
        parts += [each["log_failure"].getTraceback() for each in self._events if "log_failure" in each]
        return "\n".join(parts)

    def __len__(self) -> int:
        return len(self._events)


class Scripted(Resource):
    """A page whose answer is a function's."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        super().__init__()
        self.isLeaf = True
        self._answer = answer
        self.requests: list[Request] = []

    def render(self, request: Any) -> Any:
        self.requests.append(request)
        return self._answer(request)


class WebCase(TestCase):
    """A test with a web server on this machine, and somebody who asks it."""

    def setUp(self) -> None:
        need("treq")
        self.web = Web(timeout=30)
        self.addCleanup(self.web.close)

    def serve(self, answer: Callable[[Request], Any]) -> tuple[str, Scripted]:
        """The URL of a page with that answer, and the page."""
        page = Scripted(answer)
        site = Site(page)
        site.log = lambda request: None  # type: ignore[method-assign]  # what a server logs of itself is not looked at
        port = cast(Any, reactor).listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"http://127.0.0.1:{cast(IPv4Address, port.getHost()).port}/check", page

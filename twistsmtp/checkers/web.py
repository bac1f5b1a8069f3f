"""Requests to web servers that checkers ask: verified TLS, no redirects, no cookies, bounds on time and size."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from twistsmtp.checkers.errors import Unavailable, extra
from twistsmtp.checkers.turns import Turns
from twistsmtp.web import place, trust_root

__all__ = ["Answer", "Web", "basic"]

#: Requests at once, to all servers together.
AT_ONCE = 20
#: Octets of an answer that are read.
BODY_LIMIT = 256 * 1024
#: Seconds for one request, from the look-up of the name to the end of the answer.
TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    code: int
    body: bytes = field(repr=False)


class Web:
    """Asks web servers.

    :param timeout: seconds for one request.
    :param ca: a file of certificates (PEM) of authorities to trust instead of the system's.
    :param reactor: the global one if none is given.
    :raises MissingExtra: treq is not installed.
    :raises ValueError: the file has no certificate.
    :raises OSError: the file cannot be read.
    """

    def __init__(self, *, timeout: float = TIMEOUT, ca: str = "", reactor: Any = None) -> None:
        self._treq = extra("treq", "http")
        self._timeout = timeout
        self._trust = trust_root(ca) if ca else None
        self._reactor = reactor
        self._agent: Any = None
        self._pool: Any = None
        self._turns = Turns(AT_ONCE, begin=self._begin, stops=True)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
    ) -> Deferred[Answer]:
        """The answer to a request, whatever its code; a redirect is one too.

        :param form: fields to send as a form.
        :raises Unavailable: there is no answer, or not in time, or it is too long. The text shows nothing of the
            request but where it went.
        """
        return self._turns.run(self._request, method, url, headers, form)

    def close(self) -> Deferred[None]:
        """Close the connections that are kept for the next request."""
        pool, self._agent, self._pool = self._pool, None, None
        return cast("Deferred[None]", pool.closeCachedConnections()) if pool else Deferred.fromCoroutine(_nothing())

    def _begin(self, work: Any, *args: Any) -> Deferred[Answer]:
        return Deferred.fromCoroutine(work(*args))

    async def _request(self, method: str, url: str, headers: Any, form: Any) -> Answer:
        if self._agent is None:
            self._connect()
        talk = Deferred.fromCoroutine(self._talk(method, url, headers, form))
        timeout = self._reactor.callLater(self._timeout, talk.cancel)
        try:
            return await talk
        except Unavailable:
            raise
        except Exception as error:
            reason = _reason(error)
            if isinstance(reason, (CancelledError, ConnectingCancelledError)):
                if timeout.active():  # it was not the timeout that cancelled
                    raise CancelledError from None
                problem = f"no answer in {self._timeout:g} s"
            else:
                # What kind of error it is: its own text could have anything in it.
                problem = type(reason).__name__
        finally:
            if timeout.active():
                timeout.cancel()
        raise Unavailable(f"{place(url)}: {problem}")

    async def _talk(self, method: str, url: str, headers: Any, form: Any) -> Answer:
        # This makes a client for this one request, which knows no cookies: those of another user's answer might let
        # this one in.
        response = await self._treq.request(
            method,
            url,
            headers={"User-Agent": "twistsmtp", **(headers or {})},
            data=form,
            allow_redirects=False,
            unbuffered=True,
            agent=self._agent,
            reactor=self._reactor,
        )
        body = _Body(f"{place(url)}: the answer is too long")
        response.deliverBody(body)
        return Answer(response.code, await body.whole)

    def _connect(self) -> None:
        from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool

        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        self._pool = HTTPConnectionPool(self._reactor)
        policy = BrowserLikePolicyForHTTPS(self._trust)
        self._agent = Agent(self._reactor, policy, connectTimeout=self._timeout, pool=self._pool)


class _Body(Protocol):
    """Reads an answer to its end, unless it is too long."""

    def __init__(self, too_long: str) -> None:
        self.whole: Deferred[bytes] = Deferred(self._cancel)
        self._parts: list[bytes] = []
        self._room = BODY_LIMIT
        self._too_long = too_long

    def dataReceived(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room >= 0:
            self._parts.append(data)
        elif not self.whole.called:
            self.whole.errback(Unavailable(self._too_long))
            self._lose()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        from twisted.web.client import ResponseDone
        from twisted.web.http import PotentialDataLoss

        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

    def _cancel(self, _: object) -> None:
        self._lose()

    def _lose(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


async def _nothing() -> None: ...


def _reason(error: Exception) -> BaseException:
    """Why there is no answer, where *error* only says that there is none."""
    reasons = getattr(error, "reasons", None)
    reason: BaseException = reasons[0].value if reasons else error
    return reason


def basic(username: bytes, password: bytes) -> dict[str, str]:
    """The header of HTTP Basic authentication (RFC 7617); *username* has no colon."""
    return {"Authorization": "Basic " + b64encode(username + b":" + password).decode()}

"""Where SASL mechanisms meet `twisted.cred`: what is offered, how an exchange goes, and what failing costs."""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil
from typing import Any

from twisted.cred.credentials import Anonymous, IAnonymous
from twisted.cred.error import LoginFailed, Unauthorized, UnhandledCredentials
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.python.failure import Failure

from twistsmtp.delivery.api import Delivery, IDelivery
from twistsmtp.delivery.twistedmail import adapt
from twistsmtp.events import exception_caught
from twistsmtp.later import Later, awaited
from twistsmtp.sasl.api import Challenge, Context, Denied, Login, Lookup, Malformed, Mechanism, SASLError
from twistsmtp.sasl.credentials import IScramProof, ScramKeys
from twistsmtp.security import Security
from twistsmtp.session import Phase, Session
from twistsmtp.verb import Ask, Close, Outcome
from twistsmtp.wire.reply import Refusal, Reply
from twistsmtp.wire.text import printable

__all__ = ["LINE", "Authentication", "decode", "offered", "receive"]

#: What a realm may have as a client's avatar.
AVATARS = (IDelivery, IMessageDeliveryFactory, IMessageDelivery)
#: Octets of a line of an exchange, with its CRLF (RFC 4954 section 4).
LINE = 12288
#: Characters of a name that a client claims, in the log.
SHOWN = 100

_log = Logger(namespace="twistsmtp.auth")


def offered(session: Session) -> list[Mechanism]:
    """The mechanisms that the client of *session* may use now, in the order in which the server prefers them."""
    security = session.security
    if security.portal is None or session.identity is not None or not session.may_authenticate:
        return []
    checkable = _checkable(security)
    if not checkable:
        return []
    context = _context(session, checkable)
    return [each for each in checkable if each.usable(context)]


def _checkable(security: Security) -> list[Mechanism]:
    """The mechanisms whose credentials the portal's checkers can check."""
    checkers: Mapping[Any, Any] = security.portal.checkers if security.portal else {}
    return [
        each
        for each in security.mechanisms
        if each.interface in checkers
        and each.digest in (None, *getattr(checkers[each.interface], "scram_digests", (each.digest,)))
    ]


def _context(session: Session, checkable: Sequence[Mechanism]) -> Context:
    tls = session.tls
    if tls is None:
        return Context(hostname=session.hostname)
    certificate = tls.peer.certificate if tls.peer else None
    if not any(each.name.endswith("-PLUS") for each in checkable):
        # A client that could bind to the channel is right to say that this server cannot (RFC 5802 section 6).
        return Context(hostname=session.hostname, certificate=certificate)
    return Context(hostname=session.hostname, certificate=certificate, binding=tls.binding)


async def _avatar(session: Session, credentials: Any) -> tuple[Delivery, Any]:
    """The avatar that the portal has for *credentials*, and what logs it out.

    :raises Denied: they are not right.
    """
    portal = session.security.portal
    if portal is None:
        raise Denied("there is no portal")
    try:
        granted: Any = await portal.login(credentials, session, *AVATARS)
        _, avatar, log_out = await awaited(granted)  # once more, for a realm that is ``async def``
    except UnhandledCredentials:
        raise
    except (LoginFailed, Unauthorized) as error:
        raise Denied(type(error).__name__) from None
    try:
        if session.over:  # the client is gone, and the checker or the realm took no notice
            raise CancelledError
        return adapt(avatar), log_out
    except BaseException:
        session.dismiss(log_out)
        raise


def receive(session: Session) -> Later[None]:
    """A client is here, and has not authenticated: the portal may have an avatar for it all the same."""
    portal = session.security.portal
    if portal is None or IAnonymous not in portal.listCredentialsInterfaces():
        return None
    return _receive(session)


async def _receive(session: Session) -> None:
    try:
        session.received(*await _avatar(session, Anonymous()))
    except (Denied, NotImplementedError):  # the realm has none
        return


class Authentication:
    """One exchange of AUTH, from the command to its last reply.

    :param initial: the initial response, decoded; ``None`` where the command had none.
    """

    def __init__(self, session: Session, mechanism: Mechanism, initial: bytes | None) -> None:
        self._session = session
        self._mechanism = mechanism
        self._initial = initial
        self._machine = mechanism.start(_context(session, _checkable(session.security)))
        session.mechanism = mechanism.name
        #: When the client's turn ended, in the clock's seconds.
        self._since = session.seconds()
        #: Whom the mechanism says that it is about, for the log.
        self._claimed = "-"
        #: Whether the credentials were wrong. A mechanism may have something to say about that before it ends, but
        #: however it ends then, the client has failed.
        self._wrong = False
        #: Whether the attempt is among the failures of the client's address.
        self._counted = False
        #: Whether it has waited for that.
        self._paid = False
        #: Who the client is, its avatar and what logs it out, when its credentials were right.
        self._proved: tuple[str, Delivery, Callable[[], object]] | None = None

    async def go_on(self, response: bytes | None = None) -> Outcome:
        """Begin, or give the mechanism the client's *response*; and carry it as far as it goes.

        :raises Refusal: the exchange has ended, and the client is nobody.
        """
        replies = self._session.replies
        self._since = self._session.seconds()
        try:
            challenge = await self._run(response)
        except SASLError as error:
            if self._wrong or not isinstance(error, Malformed):
                return await self._failed(replies.credentials_invalid)
            # RFC 4954 section 4 tells a response that came before its time from one that is malformed.
            early = self._initial is not None
            reply = replies.initial_response if early else replies.authentication_malformed
        except Refusal as refusal:  # of a mechanism that has its own words for it
            reply = refusal.reply
            if not reply.temporary:
                return await self._failed(reply)
        except Exception as error:  # the checker's trouble, or the realm's, or the end of the connection
            reply = replies.authentication_unavailable
            if not self._session.over:
                exception_caught(self._session, _without_text(error), str(reply))
        else:
            return await self._succeeded() if challenge is None else self._ask(challenge)
        self._drop()
        raise Refusal(reply)

    async def _run(self, response: bytes | None) -> bytes | None:
        """Give the mechanism *response*, and do what it wants.

        :returns: its next challenge, or ``None`` when it has ended.
        """
        advance: Callable[[], Challenge | Lookup | Login] = partial(self._machine.send, response)
        while True:
            try:
                step = advance()
            except StopIteration:
                return None
            if isinstance(step, Challenge):
                if self._initial is None:
                    return step.octets
                if step.awaited:
                    raise Malformed("the server has the first word")
                advance, self._initial = partial(self._machine.send, self._initial), None
            elif isinstance(step, Lookup):
                advance = partial(self._machine.send, await self._keys(step))
            else:
                try:
                    await self._log_in(step)
                except Denied as denied:
                    await self._pay()
                    advance = partial(self._machine.throw, denied)
                else:
                    advance = partial(self._machine.send, None)

    def _ask(self, challenge: bytes) -> Ask:
        text = base64.b64encode(challenge).decode("ascii")
        return Ask(Reply(334, "", text), self._answered, LINE, self._drop)

    def _answered(self, line: bytes | None) -> Later[Outcome]:
        replies = self._session.replies
        if line is None:
            reply = replies.authentication_line_too_long
        elif line == b"*":
            reply = replies.authentication_cancelled
        else:
            try:
                # RFC 4954 section 4 has "=" for an empty initial response only; some clients say it here as well.
                return self.go_on(decode(line) if line != b"=" else b"")
            except ValueError:
                reply = replies.not_base64
        if self._wrong:
            # RFC 4954 section 4: whatever it costs, the answer to "*" is 501.
            return self._failed(reply if line == b"*" else replies.credentials_invalid)
        self._drop()
        raise Refusal(reply)

    async def _keys(self, lookup: Lookup) -> ScramKeys:
        portal = self._session.security.portal
        checker: Any = portal.checkers[IScramProof] if portal else None
        keys: Later[ScramKeys] = checker.scram_keys(lookup.username, lookup.digest)
        return await awaited(keys)

    async def _log_in(self, login: Login) -> None:
        """
        :raises Denied: the credentials are not right, or they are another's.
        """
        self._claimed = login.authentication or login.identity or "-"
        avatar, log_out = await self._check(login)
        identity = login.identity if login.identity is not None else getattr(login.credentials, "username", None)
        owner, may_act_as = login.authentication, self._session.security.may_act_as
        self._claimed = owner or identity or "-"
        try:
            if not identity or (owner not in (None, identity) and not may_act_as(owner, identity)):
                raise Denied("not to act as that")
        except BaseException:
            self._session.dismiss(log_out)
            raise
        self._proved = (identity, avatar, log_out)
        self._session.security.failures.take_back(self._session.network)

    async def _check(self, login: Login) -> tuple[Delivery, Callable[[], object]]:
        """Ask the portal, when it is the client's turn. That counts as a failure until it has succeeded."""
        session, failures = self._session, self._session.security.failures
        if session.network:
            failures.add(session.network, session.seconds())
        self._counted = True
        await failures.turn(session.network)
        try:
            return await _avatar(session, login.credentials)
        except CancelledError:
            self._log("abandoned")
            raise
        except Denied:
            raise
        except Exception:  # not the client's fault
            failures.take_back(session.network)
            raise
        finally:
            failures.end_turn(session.network, session.clock)

    async def _succeeded(self) -> Outcome:
        session, proved = self._session, self._proved
        if proved is None:
            raise RuntimeError(f"the mechanism {self._mechanism.name} has ended without a login")
        try:
            await awaited(session.ask(Phase.AUTH, proved[0]))
        except BaseException as error:
            self._drop()
            if isinstance(error, Refusal) or not isinstance(error, Exception) or session.over:
                raise
            exception_caught(session, Failure(error), str(session.replies.authentication_unavailable))
            raise Refusal(session.replies.authentication_unavailable) from None
        if session.over:
            self._drop()
        else:
            session.authenticated(*proved)
            self._log("succeeded")
        return session.replies.authenticated

    async def _failed(self, reply: Reply) -> Outcome:
        self._drop()
        await self._pay()
        session = self._session
        if session.counts.auth_failures >= session.limits.auth_failures:
            return Close(session.replies.too_many_auth_failures)
        raise Refusal(reply)

    async def _pay(self) -> None:
        """What a failure costs: time, more with each, so that a guess is never cheap. Once for each exchange.

        How long the check took does not show: the time is a multiple of one that depends on the failures alone.
        """
        session, limits = self._session, self._session.limits
        if not self._wrong:
            self._wrong = True
            session.counts.auth_failures += 1
            if session.network and not self._counted:
                session.security.failures.add(session.network, session.seconds())
            self._log("failed")
        if self._paid:
            return
        lately = session.security.failures.count(session.network, session.seconds())
        count = max(session.counts.auth_failures, round(lately))
        delay = min(limits.auth_delay * 2.0 ** min(count - 1, 32), limits.auth_delay_most)
        if delay:
            taken = session.seconds() - self._since
            await deferLater(session.clock, max(delay * max(ceil(taken / delay), 1) - taken, 0.0))
        self._paid = True

    def _drop(self) -> None:
        """The exchange has come to nothing."""
        self._session.mechanism = None
        self._machine.close()
        proved, self._proved = self._proved, None
        if proved is not None:
            self._session.dismiss(proved[2])

    def _log(self, result: str) -> None:
        _log.info(
            "{id} client={client} mechanism={mechanism} user={user} {result}",
            id=self._session.id,
            client=self._session.client,
            mechanism=self._mechanism.name,
            user=printable(self._claimed[:SHOWN]),
            result=result,
            log_dialect=self._session.dialect,
        )


def decode(text: bytes | str) -> bytes:
    """The octets of a response (RFC 4954 section 4).

    :raises ValueError: it is not base64 (RFC 4648 section 4), with just the padding that it needs.
    """
    octets = text.encode("ascii") if isinstance(text, str) else text
    decoded = base64.b64decode(octets, validate=True)
    if base64.b64encode(decoded) != octets:
        raise ValueError("not the padding that it needs")
    return decoded


def _without_text(error: Exception) -> Failure:
    """*error* for the log: what it is and where it came from, but not its text, which may have a password in it."""
    kind = type(error)
    return Failure(kind.__new__(kind), kind, error.__traceback__)

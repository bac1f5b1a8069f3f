"""What connections share: the registry, the delivery, the policies, the limits; and who may connect at all."""

import os
import socket
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import count
from time import time
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from twistsmtp.clients import Clients, ProxiedAddress
from twistsmtp.cred import receive
from twistsmtp.delivery.api import Delivery
from twistsmtp.delivery.nowhere import Nowhere
from twistsmtp.delivery.twistedmail import adapt
from twistsmtp.extensions import load_extensions
from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.policy.api import Policy, checks_of
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.security import Security
from twistsmtp.session import Session
from twistsmtp.verb import Extension, Registry, Verb
from twistsmtp.verbs import CORE
from twistsmtp.verbs.lmtp import LMTP
from twistsmtp.wire.reply import Catalogue, Reply

__all__ = ["LMTPFactory", "SMTPFactory"]

#: Seconds between two looks at the connections while they are being ended.
DRAIN_SWEEP = 0.5

#: Tells factories of one process apart that begin in the same moment.
_numbers = count(1)


class SMTPFactory(ServerFactory):
    """Makes the connections of an SMTP server.

    :param delivery: where mail goes: a `Delivery`, or any provider of twisted.mail's ``IMessageDelivery`` or
        ``IMessageDeliveryFactory``; by default nowhere, unless the portal has an avatar for the client.
    :param hostname: the name that the server goes by, in its greeting and its Received field; by default the
        machine's own.
    :param policies: asked in this order. Without a `RelayRule` it is for the delivery alone to say for whom it
        takes mail.
    :param security: the certificates for STARTTLS, the portal, and what is required of clients.
    :param extensions: what EHLO offers; by default all that is safe.
    :param more_extensions: what it offers behind these: those of one's own.
    :param strict_greeting: hold the greeting back for a moment, and refuse a client that does not wait for it.
    :param reactor: the clock; by default the global reactor.
    """

    protocol: type[SMTPProtocol] = SMTPProtocol  # type: ignore[assignment]  # Factory calls its own type variable here
    noisy = False
    #: The core verbs.
    verbs: tuple[Verb[Any], ...] = CORE
    #: Whether it is LMTP that is spoken.
    lmtp = False
    #: The replies, if no others are given.
    default_replies = Catalogue()

    def __init__(
        self,
        delivery: Delivery | IMessageDelivery | IMessageDeliveryFactory | None = None,
        *,
        hostname: str | None = None,
        policies: Sequence[Policy] = (),
        security: Security | None = None,
        limits: Limits | None = None,
        replies: Catalogue | None = None,
        extensions: Sequence[Extension] | None = None,
        more_extensions: Sequence[Extension] = (),
        strict_greeting: bool = False,
        reactor: IReactorTime | None = None,
    ) -> None:
        self.delivery = Nowhere() if delivery is None else adapt(delivery)
        self.hostname = hostname or socket.getfqdn()
        self.security = security or Security()
        self.limits = limits or Limits()
        self.replies = self.default_replies if replies is None else _over(self.default_replies, replies)
        offered = load_extensions() if extensions is None else extensions
        self.registry = Registry(self.verbs, (*offered, *more_extensions))
        self.policies = tuple(policies)
        self.checks = checks_of(self.policies)
        self.strict_greeting = strict_greeting
        self.greeting = self.replies.greeting.fill(hostname=self.hostname)
        self.connections: set[SMTPProtocol] = set()
        #: How many connections there are, by whom they are counted for.
        self.clients = Clients()
        self._reactor = reactor
        self._sweep: IDelayedCall | None = None
        self._sessions = 0
        self._id_prefix = ""
        self._drained: Deferred[None] | None = None

    # --- the clock -------------------------------------------------------------------------------------------

    @property
    def reactor(self) -> IReactorTime:
        """The clock. The global reactor is looked for as late as can be, so that it can still be chosen."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = cast(IReactorTime, reactor)
        return self._reactor

    # --- connections -----------------------------------------------------------------------------------------

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Twisted's word that a client connects, at *addr*, which is a `ProxiedAddress` if it comes by a proxy."""
        protocol: Any = self.protocol()
        protocol.factory = self
        protocol.address = addr
        return protocol

    def new_session(self, transport: Any, address: Any = None) -> Session:
        """A session for the connection of *transport*, with an id that no other of this host has.

        :param address: whom it is with, if the transport is not to be asked.
        """
        if not self._id_prefix:  # not when the factory is made: a daemon forks after that
            self._id_prefix = f"{int(time() * 1000):x}-{os.getpid():x}-{next(_numbers):x}"
        self._sessions += 1
        proxied = address if isinstance(address, ProxiedAddress) else None
        return Session(
            id=f"{self._id_prefix}-{self._sessions:x}",
            peer=proxied.client if proxied else address or transport.getPeer(),
            hostname=self.hostname,
            delivery=self.delivery,
            dialect=self.registry,
            limits=self.limits,
            replies=self.replies,
            checks=self.checks,
            security=self.security,
            clock=self.reactor,
            lmtp=self.lmtp,
            proxy=proxied.header if proxied else None,
            clients=self.clients,
            transport=transport,
        )

    def receive(self, session: Session) -> Later[None]:
        """Ask the portal for the avatar of a client that has not authenticated, if it may have one."""
        return receive(session)

    def admit(self, protocol: SMTPProtocol) -> Reply | None:
        """Count *protocol* in. A reply says why it has to go; it is counted all the same, until it is gone."""
        clients, client = self.clients, protocol.session.network
        self.connections.add(protocol)
        clients.enter(client)
        if self._sweep is None:
            self._sweep = self.reactor.callLater(self._sweep_interval, self._sweep_all)
        if self._drained is not None:
            return self.replies.shutting_down.fill(hostname=self.hostname)
        if clients.total > self.limits.connections:
            return self.replies.too_many_connections
        if client and clients.count(client) > self.limits.connections_per_client:
            return self.replies.too_many_from_client
        return None

    def release(self, protocol: SMTPProtocol) -> None:
        """*protocol* is gone."""
        self.connections.discard(protocol)
        self.clients.leave(protocol.session.network)
        if not self.connections:
            if self._sweep is not None:
                self._sweep.cancel()
                self._sweep = None
            if self._drained is not None:
                drained, self._drained = self._drained, None
                drained.callback(None)

    def renew(self, limits: Limits, policies: Sequence[Policy]) -> None:
        """Give other limits and policies to the connections that come from now on. Those that there are keep theirs."""
        self.limits, self.policies = limits, tuple(policies)
        self.checks = checks_of(self.policies)

    # --- time ------------------------------------------------------------------------------------------------

    @property
    def _sweep_interval(self) -> float:
        if self._drained is not None:
            return DRAIN_SWEEP
        limits = self.limits
        return min(
            10.0, max(0.05, min(limits.idle_time, limits.data_time, limits.data_window, limits.handshake_time) / 10)
        )

    def _sweep_all(self) -> None:
        self._sweep = self.reactor.callLater(self._sweep_interval, self._sweep_all)
        now = self.reactor.seconds()
        for protocol in tuple(self.connections):
            protocol.sweep(now)

    def shutdown(self, grace: float = 5.0) -> "Deferred[None]":
        """End all connections: those without a transaction at once, the others when theirs is done.

        :param grace: seconds after which those that are left are cut off. Called again meanwhile, less of it hurries.
        :returns: fires when none is left.
        """
        if not self.connections:
            return succeed(None)
        if self._drained is None:
            self._drained = Deferred()
            self._late = self.reactor.callLater(grace, self._cut_off)
            self._drained.addCallback(lambda _: self._late.cancel() if self._late.active() else None)
            drained = self._drained
            if self._sweep is not None:
                self._sweep.reset(DRAIN_SWEEP)
            for protocol in tuple(self.connections):
                protocol.drain()
        else:
            drained = self._drained
            if self._late.active() and self._late.getTime() > self.reactor.seconds() + grace:
                self._late.reset(grace)
        waiter: Deferred[None] = Deferred()
        drained.addCallback(waiter.callback)
        return waiter

    def _cut_off(self) -> None:
        """Tell those that are left that they were too slow, and be gone in a second."""
        for protocol in tuple(self.connections):
            protocol.close(self.replies.shutting_down.fill(hostname=self.hostname), linger=False)
        if self.connections:
            self._late = self.reactor.callLater(1, self._abort_all)

    def _abort_all(self) -> None:
        for protocol in tuple(self.connections):
            protocol.transport.abortConnection()


class LMTPFactory(SMTPFactory):
    """Makes the connections of an LMTP server (RFC 2033): for a mail server that hands over what it has taken, and is
    told of each recipient by itself what became of the message. Not for port 25.

    It has the parameters of `SMTPFactory`.
    """

    verbs = LMTP
    lmtp = True
    default_replies = replace(
        Catalogue(),
        greeting=Reply(220, "", "{hostname} LMTP twistsmtp"),
        hello_first=Reply(503, "5.5.1", "Say LHLO first"),
        no_recipients=Reply(503, "5.5.1", "No valid recipients"),  # RFC 2033 section 4.2
    )


def _over(defaults: Catalogue, replies: Catalogue) -> Catalogue:
    """*replies*, and where they are as every catalogue's, *defaults*."""
    plain = Catalogue()
    names = [each.name for each in fields(Catalogue)]
    same = [name for name in names if getattr(replies, name) == getattr(plain, name)]
    return replace(replies, **{name: getattr(defaults, name) for name in same})

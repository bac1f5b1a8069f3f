"""What a connection knows: the `Session` and its `Transaction`.

A session lives as long as the connection (or until TLS begins: RFC 3207 makes it new). A transaction is one mail:
MAIL opens it, and its end, RSET, a second EHLO or a lost connection closes it. The stage of a session follows from
both, and is all that the verb table needs to know about order::

    CONNECTED --hello--> READY --MAIL--> MAIL --RCPT--> RCPT (--BDAT--> CHUNKS) --message--> READY

A session that has not what the server requires, encryption or a client that it knows, is BARRED instead: from the
beginning, and until STARTTLS or AUTH has brought that.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger

from twistsmtp.clients import Clients, client_of, network_of
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.held import Held
from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.phases import LASTING, Check, Checks, Dialect, Phase, Stage, ask
from twistsmtp.security import Security
from twistsmtp.tls.facts import TLS
from twistsmtp.transaction import Counts, Transaction
from twistsmtp.wire.field import header_field
from twistsmtp.wire.grammar import Mailbox
from twistsmtp.wire.proxy import ProxyHeader
from twistsmtp.wire.reply import Catalogue, Refusal
from twistsmtp.wire.text import printable

if TYPE_CHECKING:
    from twistsmtp.delivery.api import Delivery, DeliveryTransaction

__all__ = [
    "Check",
    "Checks",
    "Dialect",
    "Phase",
    "Session",
    "Stage",
]

_log = Logger(namespace="twistsmtp.session")


# To look a member up in an enumeration takes longer than a call, and these are set for each connection or message.
_CONNECTED, _READY, _MAIL, _RCPT = Stage.CONNECTED, Stage.READY, Stage.MAIL, Stage.RCPT
_CONNECT = Phase.CONNECT


class Session:
    """One connection, as the verbs, policies and deliveries see it."""

    __slots__ = (
        "_anybodys",
        "_endings",
        "_log_out",
        "_resting",
        "_transport",
        "annotations",
        "checks",
        "client",
        "client_name",
        "clients",
        "clock",
        "counts",
        "delivery",
        "dialect",
        "esmtp",
        "fields",
        "helo",
        "hostname",
        "id",
        "identity",
        "limits",
        "lmtp",
        "mechanism",
        "network",
        "notes",
        "origin",
        "over",
        "peer",
        "phase",
        "proxy",
        "redirected",
        "replies",
        "seconds",
        "security",
        "stage",
        "strict_greeting",
        "talked_early",
        "tls",
        "transaction",
        "visitor",
    )

    def __init__(
        self,
        *,
        id: str,
        peer: IAddress,
        hostname: str,
        delivery: "Delivery",
        dialect: Dialect,
        limits: Limits,
        replies: Catalogue,
        checks: Checks,
        security: Security,
        clock: IReactorTime,
        lmtp: bool = False,
        proxy: ProxyHeader | None = None,
        clients: Clients | None = None,
        transport: Any = None,
    ) -> None:
        self.id = id
        self._transport = transport
        #: Whom the server speaks to, and where the connection is from: the same, unless who has connected may speak
        #: for others, and does (`become`).
        self.peer = self.origin = peer
        #: The client's address as text: an IP address, or ``"local"`` for a unix socket.
        self.client = client_of(peer)
        #: The host name of that address, where a policy has found out that it is really its own, or who is trusted to
        #: speak for the client has said so.
        self.client_name: str | None = None
        #: Whom the connection is counted for: an IPv4 address, the /64 network that one site has of IPv6, or ``""``
        #: for a unix socket.
        self.network = network_of(self.client)
        #: What the proxy has said that the connection has come by.
        self.proxy = proxy
        #: Where all connections are counted.
        self.clients = Clients() if clients is None else clients
        #: The name that the server goes by.
        self.hostname = hostname
        #: Where the client's mail goes. `visitor` is the same for a client that has not authenticated.
        self.delivery = self.visitor = self._anybodys = delivery
        self.dialect = dialect
        self.limits = limits
        self.replies = replies
        #: The policies' methods, for `ask`.
        self.checks = checks
        self.security = security
        #: Whether it speaks LMTP (RFC 2033).
        self.lmtp = lmtp
        self.clock = clock
        self.seconds = clock.seconds
        self.counts = Counts()
        #: What a policy leaves for those behind it.
        self.annotations: dict[str, Any] = {}
        #: The same for the transaction that is open, or comes next: gone when that has ended, and with RSET or EHLO.
        self.notes: dict[str, Any] = {}
        #: The phase that policies were last asked for, and the header fields that they want in front of messages.
        self.phase = _CONNECT
        self.fields: dict[Phase, list[bytes]] = {}
        #: Who gets the mail of the recipient that RCPT asks for, if not that one.
        self.redirected: tuple[Mailbox, ...] = ()
        #: Whether the client talked before it was greeted, and whether it is refused as soon as it does.
        self.talked_early = False
        self.strict_greeting = False
        self.tls: TLS | None = None
        #: The name given to HELO or EHLO; ``None`` before.
        self.helo: str | None = None
        #: Whether that was EHLO.
        self.esmtp = False
        #: Whom the client authenticated as; ``None`` before.
        self.identity: str | None = None
        #: The SASL mechanism by which it does, or did.
        self.mechanism: str | None = None
        #: Tell the realm that an avatar is not used any more.
        self._log_out: Callable[[], object] | None = None
        #: What is called when the client has gone.
        self._endings: tuple[Callable[[], object], ...] = ()
        #: Whether the connection is ending, so that nobody waits for an answer any more.
        self.over = False
        self.transaction: Transaction | None = None
        self.rest()

    def ask(self, phase: Phase, *subject: object) -> Later[None]:
        """Ask the policies of *phase* about *subject*, in their order; the first that refuses ends it.

        :raises Refusal: one of them refused.
        """
        checks = self.checks.get(phase)
        if not checks:
            return None
        self.phase = phase
        self.redirected = ()
        if self.fields and phase in LASTING:
            self.fields.pop(phase, None)  # a second EHLO is a second opinion
        return ask(checks, (self, *subject))

    def add_field(self, name: str, value: str) -> None:
        """Write a header field in front of the message, above the Received field: for a policy, in any phase.

        What is added at connect, hello or auth is for all messages that follow, until that phase comes again; else
        it is for the message of the transaction.

        :param value: may be folded: a line end with a blank behind it.
        :raises ValueError: it is no field (`header_field`), or it comes too late: the message has gone on, as no
            policy `reads_message`.
        """
        if self.phase is Phase.MESSAGE and not self.checks.reads_message:
            raise ValueError(f"{name}: a policy that adds a field to a message that has come says reads_message = True")
        self.fields.setdefault(self.phase, []).append(header_field(name, value))

    def redirect(self, *mailboxes: Mailbox) -> None:
        """Give the mail of the recipient that is asked for to *mailboxes* in its place: for a policy, in the phase
        rcpt. The parameters of RCPT are theirs, too. Policies behind it still see what the client said; if one of
        them redirects, too, it wins.

        :raises ValueError: there are no mailboxes.
        """
        if not mailboxes:
            raise ValueError("mail is to go somewhere: refuse it, or redirect it to a mailbox")
        self.redirected = mailboxes

    def count_idle_command(self) -> None:
        """A command came that moves no mail.

        :raises Refusal: there were too many of them; the connection ends.
        """
        self.counts.idle_commands += 1
        if self.counts.idle_commands > self.limits.idle_commands:
            raise Refusal(self.replies.too_many_idle)

    def hello(self, name: str, *, esmtp: bool) -> None:
        """HELO or EHLO was accepted: as after RSET, the buffers are clear (RFC 5321 section 4.1.4)."""
        self.reset()
        self.helo = name
        self.esmtp = esmtp
        self.rest()

    def rest(self) -> None:
        """See at which stage the session is when no transaction is open."""
        if self.needs_tls or (self.security.require_auth and self.identity is None):
            self._resting = Stage.BARRED
        else:
            self._resting = _READY if self.helo is not None else _CONNECTED
        self.stage = self._resting

    @property
    def host(self) -> str:
        """The address that the client has connected to, as text like `client`; where it comes by a proxy, what that
        says. ``"unknown"`` when the connection is ending."""
        place: Any = self.proxy.destination if self.proxy else None
        if place is None and self._transport is None:
            return "unknown"
        return client_of(self._transport.getHost() if place is None else place)

    @property
    def may_authenticate(self) -> bool:
        """Whether a secret may be sent here."""
        return self.tls is not None or (self.security.plaintext_auth and not self.security.require_tls)

    @property
    def needs_tls(self) -> bool:
        """Whether the server requires encryption that is not there yet."""
        return self.security.require_tls and self.tls is None

    def encrypted(self, tls: TLS) -> None:
        """TLS stands."""
        self.tls = tls
        self.rest()

    def received(self, delivery: "Delivery", log_out: Callable[[], object]) -> None:
        """The realm has an avatar for a client that has not authenticated: *delivery*.

        :param log_out: is called when the connection has ended.
        """
        self.visitor = self.delivery = delivery
        self.at_end(log_out)

    def authenticated(self, identity: str, delivery: "Delivery", log_out: Callable[[], object]) -> None:
        """The client has proved that it is *identity*, and *delivery* is its avatar.

        :param log_out: is called when that has ended.
        """
        self.identity, self.delivery, self._log_out = identity, delivery, log_out
        self.rest()

    def restart(self) -> None:
        """Begin anew, as RFC 3207 section 4.2 wants it behind STARTTLS: nothing that the client said in plain text
        is known any more. What is known of the client in other ways stays: `peer`, `annotations` and `counts`."""
        self.reset()
        self.counts.before = self.counts.transactions
        self._dismiss_user()
        self.identity, self.mechanism, self.delivery = None, None, self.visitor
        self.helo, self.esmtp = None, False
        if self.fields:
            self.fields = {phase: fields for phase, fields in self.fields.items() if phase is Phase.CONNECT}
        self.rest()

    def become(self, peer: IAddress) -> None:
        """Begin anew as the session of *peer*, for whom `origin` speaks. TLS, `annotations` and `counts` stay."""
        self.restart()
        self._call_endings()
        self.delivery = self.visitor = self._anybodys
        self.clients.leave(self.network)
        self.peer, self.client, self.client_name = peer, client_of(peer), None
        self.network = network_of(self.client)
        self.clients.enter(self.network)

    def end(self) -> None:
        """The connection is ending. Who the client was is still known, for the log."""
        self.over = True
        if self.transaction is not None:
            self.reset()
        self._dismiss_user()
        self._call_endings()
        self._transport = None

    def at_end(self, function: Callable[[], object]) -> None:
        """Have *function* called when the client has gone, or another takes its place (`become`): for a policy that has
        begun something for it, or counts it. Where it has gone by now, that is at once. What it raises is logged."""
        if self.over:
            self.dismiss(function)
        else:
            self._endings += (function,)

    def _dismiss_user(self) -> None:
        log_out, self._log_out = self._log_out, None
        if log_out is not None:
            self.dismiss(log_out)

    def _call_endings(self) -> None:
        endings, self._endings = self._endings, ()
        for function in endings:
            self.dismiss(function)

    def dismiss(self, function: Callable[[], object]) -> None:
        """Tell somebody, as the realm of an avatar, that they are not needed any more."""
        try:
            function()
        except Exception:  # which is not the client's affair
            _log.failure("{id} what was to be done at the end failed", id=self.id)

    def begin(self, reverse_path: ReversePath, delivery: "DeliveryTransaction") -> None:
        """MAIL was accepted."""
        self.counts.transactions += 1
        self.transaction = Transaction(f"{self.id}-{self.counts.transactions}", reverse_path, delivery)
        self.stage = _MAIL

    def add(self, recipient: Recipient) -> None:
        """RCPT was accepted."""
        self.current.recipients.append(recipient)
        self.stage = _RCPT

    def add_together(self, recipients: Sequence[Recipient]) -> None:
        """RCPT was accepted, and *recipients* stand for the one that it asked for."""
        self.current.add_together(recipients)
        self.stage = _RCPT

    @property
    def message(self) -> Held:
        """The message that has come: for a policy that `reads_message`, in the phase message.

        :raises LookupError: there is none.
        """
        if self.transaction is None or self.transaction.held is None:
            raise LookupError("no message is held")
        return self.transaction.held

    @property
    def current(self) -> Transaction:
        """The open transaction.

        :raises LookupError: there is none; a verb that is legal only from `Stage.MAIL` on never sees this.
        """
        if self.transaction is None:
            raise LookupError("no transaction is open")
        return self.transaction

    def take_chunks(self, message: Any) -> None:
        """The message comes in chunks, and *message* takes their octets."""
        self.current.chunked = message
        self.stage = Stage.CHUNKS

    def finish(self) -> None:
        """The transaction has ended, whichever way."""
        self.transaction = None
        self.stage = self._resting
        if self.notes:
            self.notes = {}
        if self.fields:
            self.fields = {phase: fields for phase, fields in self.fields.items() if phase in LASTING}

    def reset(self) -> None:
        """Give up the transaction, if there is one; the delivery drops what it has of it."""
        transaction = self.transaction
        self.finish()
        if transaction is not None:
            transaction.abort()

    def __repr__(self) -> str:
        return f"<Session {self.id} {printable(self.client)} {self.stage.name}>"

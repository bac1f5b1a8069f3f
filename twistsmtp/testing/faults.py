"""What a server under test does wrong when it is told to.

A program that sends mail has to cope with servers that refuse, defer, dawdle and disappear. `Faults` has a server do
each of these when it is wanted, and to the message that it is wanted for::

    faults = Faults()
    faults.refuse("ada@example.org", 550, "No such user")
    faults.defer_once()                    # the first RCPT of all; the second try is taken
    faults.delay("message", 3.0)           # the reply to the end of the message
    faults.drop_after(2000)                # octets of a connection
    SMTPFactory(delivery, policies=[faults])

`drop_after` and `read_slowly` want the factory's connections to be `FaultyProtocol`. `MailServer` has all that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.later import Later
from twistsmtp.policy.api import Policy
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.session import Phase, Session
from twistsmtp.wire.reply import Refusal, Reply

__all__ = ["Faults", "FaultyProtocol"]

#: Seconds between two looks at a connection that is read slowly.
TICK = 0.05


@dataclass(slots=True)
class _Fault:
    """One thing that goes wrong, and how often it still does."""

    phase: Phase
    #: Of the address that the phase is about: a name, or a shell's pattern as in ``*@example.org``.
    pattern: str
    #: Times that are left; ``None`` for always.
    times: int | None
    seconds: float = 0.0
    reply: Reply | None = None

    def applies(self, phase: Phase, address: str) -> bool:
        address, pattern = address.lower(), self.pattern.lower()
        alike = address == pattern or fnmatchcase(address, pattern)  # [ is in address literals, too
        return alike and phase is self.phase and self.times != 0

    def use(self) -> None:
        if self.times is not None:
            self.times -= 1


class Faults(Policy):
    """What goes wrong. A rule that is added is for the commands that come from then on, also of connections that there
    are; of several that apply the first refusal counts, and all delays. It may be told from any thread.

    Everywhere *times* is how often it happens, ``None`` for always; *code* and *text* are the reply's, 400 to 599; and
    an address may be a pattern as in a shell: ``"*@example.org"``, in any case.
    """

    def __init__(self) -> None:
        self._faults: tuple[_Fault, ...] = ()
        self._drops: list[int] = []
        #: Octets a second that are read of each connection, if they are few.
        self.octets_per_second: float | None = None

    # --- what can go wrong -----------------------------------------------------------------------------------

    def refuse(
        self, recipient: str = "*", code: int = 550, text: str = "No such user", *, times: int | None = None
    ) -> None:
        """Refuse RCPT for *recipient*.

        :raises ValueError: *code* refuses nothing.
        """
        self.fail(Phase.RCPT, code, text, address=recipient, times=times)

    def defer_once(self, recipient: str = "*", code: int = 451, text: str = "Try again later") -> None:
        """Defer the next RCPT for *recipient*, and no other: what comes again is taken.

        :raises ValueError: *code* is not 400 to 499.
        """
        if not 400 <= code < 500:
            raise ValueError(f"to defer takes a code of 400 to 499, not {code}")
        self.refuse(recipient, code, text, times=1)

    def refuse_sender(
        self, sender: str = "*", code: int = 550, text: str = "Not from you", *, times: int | None = None
    ) -> None:
        """Refuse MAIL from *sender*; ``""`` is the null reverse-path."""
        self.fail(Phase.MAIL, code, text, address=sender, times=times)

    def refuse_message(
        self, code: int = 554, text: str = "That message is not taken", *, times: int | None = None
    ) -> None:
        """Refuse messages when they have come."""
        self.fail(Phase.MESSAGE, code, text, times=times)

    def fail(self, phase: str, code: int, text: str, *, address: str = "*", times: int | None = None) -> None:
        """Refuse in any phase of a session.

        :param phase: ``"connect"``, ``"hello"``, ``"auth"``, ``"mail"``, ``"rcpt"``, ``"data"`` or ``"message"``. A
            code of 421 ends the connection in each of them.
        :param address: for ``"mail"`` and ``"rcpt"``, whose.
        :raises ValueError: there is no such phase, or *code* refuses nothing.
        """
        if not 400 <= code <= 599:
            raise ValueError(f"a refusal's code is 400 to 599, not {code}")
        self._add(_Fault(Phase(phase), address, times, reply=Reply(code, f"{code // 100}.0.0", text)))

    def delay(self, phase: str, seconds: float, *, address: str = "*", times: int | None = None) -> None:
        """Have the reply in *phase* (as `fail` has them) wait for *seconds*.

        :raises ValueError: there is no such phase, or *seconds* is less than 0.
        """
        if seconds < 0:
            raise ValueError(f"seconds is not less than 0, as {seconds}")
        self._add(_Fault(Phase(phase), address, times, seconds=seconds))

    def drop_after(self, octets: int, *, times: int = 1) -> None:
        """Cut the next connection off as soon as the client has sent *octets*, without a word; without a greeting, too,
        if that is 0.

        :param times: how many connections, one after the other.
        :raises ValueError: *octets* is less than 0.
        """
        if octets < 0:
            raise ValueError(f"octets is not less than 0, as {octets}")
        self._drops += [octets] * times

    def read_slowly(self, octets_per_second: float) -> None:
        """Read no more of each connection, also of those that there are, than so many octets a second.

        :raises ValueError: it is not more than 0.
        """
        if octets_per_second <= 0:
            raise ValueError(f"octets_per_second is more than 0, not {octets_per_second}")
        self.octets_per_second = octets_per_second

    def clear(self) -> None:
        """Have nothing go wrong any more."""
        self._faults = ()
        self._drops.clear()
        self.octets_per_second = None

    def _add(self, fault: _Fault) -> None:
        self._faults += (fault,)

    # --- where it does ---------------------------------------------------------------------------------------

    def next_drop(self) -> int | None:
        """After how many octets the connection that begins now is cut off."""
        return self._drops.pop(0) if self._drops else None

    def connect(self, session: Session) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.CONNECT, session)

    def hello(self, session: Session, name: str) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.HELLO, session)

    def auth(self, session: Session, identity: str) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.AUTH, session)

    def mail(self, session: Session, reverse_path: ReversePath) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.MAIL, session, str(reverse_path))

    def rcpt(self, session: Session, recipient: Recipient) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.RCPT, session, str(recipient))

    def data(self, session: Session, envelope: Envelope) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.DATA, session)

    def message(self, session: Session, envelope: Envelope) -> Later[None]:
        """See `Policy`."""
        return self._act(Phase.MESSAGE, session)

    def _act(self, phase: Phase, session: Session, address: str = "") -> Later[None]:
        mine = [fault for fault in self._faults if fault.applies(phase, address)]
        late = [fault for fault in mine if fault.reply is None]
        refusing = [fault for fault in mine if fault.reply is not None][:1]
        for fault in (*late, *refusing):
            fault.use()
        seconds = sum(fault.seconds for fault in late)
        if seconds:
            return deferLater(session.clock, seconds, _refuse, refusing)
        _refuse(refusing)
        return None


def _refuse(faults: list[_Fault]) -> None:
    for fault in faults:
        if fault.reply is not None:
            raise Refusal(fault.reply)


class FaultyProtocol(SMTPProtocol):
    """A connection that is cut off, or read slowly, as *faults* has it.

    `FaultyProtocol.having` makes what is a factory's ``protocol``.
    """

    def __init__(self, faults: Faults, note: Callable[[str], object]) -> None:
        super().__init__()
        self._faults = faults
        self._note = note
        self._left = faults.next_drop()
        #: What came and is to be read later, and the call that does it.
        self._later = b""
        self._reading: IDelayedCall | None = None
        self._credit = 0.0

    @classmethod
    def having(cls, faults: Faults, note: Callable[[str], object]) -> "type[FaultyProtocol]":
        """The class of connections that have *faults*.

        :param note: is told what is said that refuses something.
        """

        class Having(cls):  # type: ignore[misc, valid-type]  # mypy takes no variable for a base
            def __init__(self) -> None:
                super().__init__(faults, note)

        return Having

    def greet(self) -> None:
        """Begin to talk, unless nothing is to be said."""
        if self._left == 0:
            self._cut_off()
        else:
            super().greet()

    def dataReceived(self, data: bytes) -> None:
        """Twisted's word that octets came."""
        if self._faults.octets_per_second is None and not self._later:
            self._take(data)
            return
        self._later += data
        self._hold()
        if self._reading is None:
            self._reading = self.session.clock.callLater(TICK, self._tick)

    def _hold(self) -> None:
        self.transport.pauseProducing()
        if hasattr(self.transport, "bufferSize"):  # else so much would be read at once that the client sees nothing
            rate = self._faults.octets_per_second or 1.0
            self.transport.bufferSize = max(1, int(rate * TICK))

    def _tick(self) -> None:
        self._reading = None
        rate = self._faults.octets_per_second
        self._credit = len(self._later) if rate is None else self._credit + rate * TICK
        now = int(self._credit)
        data, self._later = self._later[:now], self._later[now:]
        self._credit = min(self._credit - len(data), max(1.0, (rate or 0) * TICK))
        if data:
            self._take(data)
        if self.session.over:
            return
        if self._later:
            self._reading = self.session.clock.callLater(TICK, self._tick)
            self._hold()
        else:
            self.transport.resumeProducing()

    def _take(self, data: bytes) -> None:
        if self._left is None:
            super().dataReceived(data)
            return
        data = data[: self._left]
        self._left -= len(data)
        if data:
            super().dataReceived(data)
        if not self._left and not self.session.over:
            self._cut_off()

    def _cut_off(self) -> None:
        self._note("the connection was cut off on purpose")
        self.transport.abortConnection()

    def flush(self) -> None:
        """Send the replies that have gathered."""
        for octets in self._out:
            if octets[:1] in (b"4", b"5"):
                self._note(octets.decode().rstrip())
        super().flush()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Twisted's word that the connection is gone."""
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        super().connectionLost(*([] if reason is None else [reason]))

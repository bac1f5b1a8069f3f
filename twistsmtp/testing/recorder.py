r"""Sessions, recorded as they happen, for `twistsmtp.testing.replay`.

::

    Recorder("sessions").attach(factory)

From then on each connection of *factory* becomes a file in the folder when it has ended: what was said, by whom, when,
and in which pieces. Nothing of it costs anything where there is no recorder.

Secrets are left out: what AUTH brings and all that is said in its exchange, whether it goes well or not, and the
``LOGIN`` of XCLIENT. A ``\*`` is in their place. Everything else is there, **the messages too**: a recording is as
private as they are, and only its owner can read the file.
"""

import os
from pathlib import Path
from typing import Any, cast

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistsmtp.factory import SMTPFactory
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.testing.notation import Event
from twistsmtp.testing.tape import Tape
from twistsmtp.verb import Intake

__all__ = ["Recorder"]

_log = Logger()


class Recorder:
    """Records the sessions of the factories that it is attached to.

    :param folder: where the files go; it is made if it is not there. The name of one is the session's id.
    :param octets: of one session, and 128 for each piece that they come in. Of a longer one its beginning is recorded.
    :param sessions: how many are recorded at the most.
    :raises OSError: there can be no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str], *, octets: int = 1024 * 1024, sessions: int = 1000) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._octets = octets
        self._left = sessions
        #: The files so far.
        self.paths: list[Path] = []

    def attach(self, factory: SMTPFactory) -> None:
        """Record the connections that *factory* makes from now on.

        :raises TypeError: what makes its connections is no class.
        """
        factory.protocol = _recorded(factory.protocol, self)

    def tape(self) -> Tape | None:
        """For a connection that begins; ``None`` if enough were recorded."""
        if self._left <= 0:
            return None
        self._left -= 1
        return Tape(self._octets)

    def keep(self, tape: Tape, name: str) -> None:
        """Write what is on *tape* to its file. A file that cannot be written is logged."""
        path = self.folder / f"{name}.smtp"
        try:
            with open(path, "x", encoding="ascii", opener=_privately) as file:
                file.write(tape.text())
        except OSError:
            _log.failure("a session could not be recorded")
        else:
            self.paths.append(path)


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _recorded(kind: type[SMTPProtocol], recorder: Recorder) -> type[SMTPProtocol]:
    """*kind*, whose connections are recorded."""
    base: Any = kind
    if not (isinstance(base, type) and issubclass(base, SMTPProtocol)):
        raise TypeError(f"the factory's protocol is to be a kind of SMTPProtocol, not {kind!r}")

    class Recorded(base):  # type: ignore[misc]  # mypy takes no variable for a base
        def __init__(self) -> None:
            super().__init__()
            self._tape = recorder.tape()

        def _now(self) -> float:
            return cast(float, self.seconds() - self.connected_at)

        def connectionMade(self) -> None:
            tape = self._tape
            super().connectionMade()
            if tape is not None:
                implicit = self._handshake_since is not None
                tape.about(self.session, self.factory.registry.verbs, implicit=implicit)

        def handshakeCompleted(self) -> None:
            if self._tape is not None:
                self._tape.happened("C", self._now(), Event.TLS)
            super().handshakeCompleted()

        def dataReceived(self, data: bytes) -> None:
            if self._tape is not None:
                self._tape.heard(self._now(), data)
            super().dataReceived(data)

        def lineReceived(self, line: bytes) -> None:
            if self._tape is not None and self._asked is not None:
                self._tape.hide(line)
            super().lineReceived(line)

        def _feed(self, intake: Intake, buffer: bytes, position: int) -> int:
            received = self.octets_in
            end = cast(int, super()._feed(intake, buffer, position))
            if self._tape is not None:
                begin = received - len(buffer)
                self._tape.message(begin + position, begin + end)
            return end

        def flush(self) -> None:
            if self._tape is not None and self._out:
                self._tape.said(self._now(), b"".join(self._out))
            super().flush()

        def readConnectionLost(self) -> None:
            if self._tape is not None:
                self._tape.happened("C", self._now(), Event.HALF_CLOSES)
            super().readConnectionLost()

        def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
            tape, self._tape = self._tape, None
            if tape is not None:
                server = self._closing_since is not None or self._half_closed
                tape.happened("S" if server else "C", self._now(), Event.CLOSES)
                recorder.keep(tape, self.session.id)
            super().connectionLost(reason)

    return Recorded

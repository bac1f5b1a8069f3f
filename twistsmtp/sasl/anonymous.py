"""ANONYMOUS (RFC 4505): nobody in particular, who may leave a trace."""

from dataclasses import dataclass

from twisted.cred.credentials import Anonymous, IAnonymous

from twistsmtp.sasl.api import Context, Exchange, Malformed, Mechanism, ask, log_in
from twistsmtp.sasl.prep import traceprep, utf8

__all__ = ["ANONYMOUS", "MECHANISM", "TracedAnonymous"]

#: The identity of those who come in by this: anybody has it who asks.
ANONYMOUS = "anonymous"

#: Characters of trace information (RFC 4505 section 2: ``1*255TCHAR``).
_LIMIT = 255


@dataclass(frozen=True, slots=True, eq=False)
class TracedAnonymous(Anonymous):
    """Twisted's credentials of nobody, with what the client said about itself; anybody may say anything."""

    #: Printable; ``""`` where it said nothing.
    trace: str


def _trace(octets: bytes) -> str:
    text = utf8(octets, "trace", 4 * _LIMIT)
    try:
        trace: str | None = traceprep(text)
    except ValueError:
        trace = None
    if trace is None or len(trace) > _LIMIT or not trace.isprintable():
        raise Malformed("trace too long, or not printable")
    return trace


def _anonymous(context: Context) -> Exchange:
    trace = _trace((yield from ask()))
    yield from log_in(TracedAnonymous(trace), ANONYMOUS)


MECHANISM = Mechanism(name="ANONYMOUS", start=_anonymous, interface=IAnonymous)

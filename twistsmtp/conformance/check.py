"""What a check is, and the list of all of them."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .talk import Start, Talk

__all__ = ["CHECKS", "MUST", "SECURITY", "SHOULD", "Check", "Severity", "check"]

Run = Callable[[Talk], None]


class Severity(enum.Enum):
    """What it means to fail."""

    #: The RFC leaves no choice.
    MUST = "must"
    #: The RFC has it otherwise, but a server may have its reasons.
    SHOULD = "should"
    #: Somebody can get mail or commands past this server or the one before it, or read what is not for them.
    SECURITY = "security"


MUST, SHOULD, SECURITY = Severity.MUST, Severity.SHOULD, Severity.SECURITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check.

    :param rfc: the number of the RFC that it is from, 5321.
    :param section: of that, ``"4.1.1.4"``.
    :param statement: what is so where all is well, in one line.
    :param start: how far the connection has come that `run` gets.
    :param needs: EHLO keywords, of which each has to be offered. It has to start behind EHLO, then.
    :param clear: whether it is about a connection without TLS, and skipped where there is none.
    :param only: ``"smtp"`` or ``"lmtp"`` where it is about one of the two.
    :param user: whether somebody has to be able to authenticate.
    """

    id: str
    rfc: int
    section: str
    severity: Severity
    statement: str
    run: Run
    start: Start
    needs: tuple[str, ...] = ()
    clear: bool = False
    only: str = ""
    user: bool = False

    @property
    def reference(self) -> str:
        """Where it is written."""
        return f"RFC {self.rfc} section {self.section}" if self.section else f"RFC {self.rfc}"


#: All checks by their ids, in the order in which they are made.
CHECKS: dict[str, Check] = {}


def check(
    id: str,
    rfc: int,
    section: str,
    severity: Severity,
    *,
    start: Start = Start.HELLO,
    needs: Sequence[str] = (),
    clear: bool = False,
    only: str = "",
    user: bool = False,
    says: str = "",
) -> Callable[[Run], Run]:
    """Make a function one of the checks.

    :param says: the statement; by default, the first line of the function's docstring.
    :raises ValueError: there is one of that *id*, it says nothing, or it needs what cannot be known.
    """

    def add(run: Run) -> Run:
        statement = says or (run.__doc__ or "").strip().partition("\n")[0]
        if id in CHECKS or not statement or (needs and start < Start.HELLO):
            raise ValueError(f"the check {id} is there twice, says nothing, or does not know what is offered")
        CHECKS[id] = Check(
            id=id,
            rfc=rfc,
            section=section,
            severity=severity,
            statement=statement,
            run=run,
            start=start,
            needs=tuple(needs),
            clear=clear,
            only=only,
            user=user,
        )
        return run

    return add

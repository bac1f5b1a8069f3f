"""Makes the checks, one after the other, each on a connection of its own."""

import enum
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from .check import Check, Severity
from .link import Link, Lost, Silent, Unreachable
from .talk import Failed, Skipped, Start, Talk
from .target import Security, Target

__all__ = ["Result", "Verdict", "make", "prepared"]


#: Checks on end without an answer, after which no more are made.
SILENT = 6


class Verdict(enum.Enum):
    """What came of a check."""

    PASS = "pass"
    #: It is not as it must be.
    FAIL = "fail"
    #: It is not as it should be.
    WARN = "warn"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check.

    :param reason: what was wrong, or why it was skipped.
    :param record: what was said, where it was wrong.
    :param wanted: whether it was skipped for want of something that the program could be told.
    """

    check: Check
    verdict: Verdict
    reason: str = ""
    record: tuple[str, ...] = ()
    seconds: float = 0.0
    wanted: bool = False
    #: Whether the server did not answer in time.
    silent: bool = False


def prepared(target: Target) -> Target:
    """*target*, with what it takes to bring mail in.

    :raises Unreachable: there is no connection to be had.
    :raises Skipped: it takes no mail; says why.
    """
    if target.user is None:
        _try(target)
        return target
    try:
        _try(target)
    except Skipped:
        target = replace(target, always=True)
        _try(target)
    return target


def _try(target: Target) -> None:
    link = Link(target)
    try:
        try:
            link.read()
        except Lost as problem:
            raise Unreachable(f"no greeting from {target.host}:{target.port}: {problem}") from None
    finally:
        link.close()
    link = Link(target)
    try:
        Talk(target, link).reach(Start.RCPT)
    finally:
        link.close()


def make(
    target: Target, checks: Iterable[Check], seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Result]:
    """Make *checks* in turn.

    :param seconds: when they are gone, what is left is skipped. So it is where the server takes no connections any
        more, or answers nothing in several checks on end.
    """
    end = clock() + seconds
    gone = ""
    silent = 0
    for check in checks:
        began = clock()
        if not gone and began >= end:
            gone = f"{seconds:g} seconds were over"
        if gone:
            yield Result(check, Verdict.SKIP, gone, wanted=True)
            continue
        try:
            result = _make(target, check)
        except Unreachable as problem:
            gone = str(problem)
            result = Result(check, Verdict.SKIP, gone, wanted=True)
        yield replace(result, seconds=clock() - began)
        silent = silent + 1 if result.silent else 0
        if silent == SILENT:
            gone = "the server answers nothing any more"


def _make(target: Target, check: Check) -> Result:
    reason = _not_for(target, check)
    if reason:
        return Result(check, Verdict.SKIP, reason)
    link = Link(target, clear=check.clear)
    try:
        talk = Talk(target, link)
        talk.reach(check.start, clear=check.clear, user=check.user)
        missing = [keyword for keyword in check.needs if keyword not in talk.keywords]
        if missing:
            raise Skipped(f"{' and '.join(missing)} not offered")
        check.run(talk)
    except Skipped as skipped:
        silent = isinstance(skipped.__cause__, Silent)
        return Result(check, Verdict.SKIP, str(skipped), wanted=skipped.wanted, silent=silent)
    except (Failed, Lost) as problem:
        verdict = Verdict.WARN if check.severity is Severity.SHOULD else Verdict.FAIL
        return Result(check, verdict, str(problem), tuple(link.record), silent=isinstance(problem, Silent))
    finally:
        link.close()
    return Result(check, Verdict.PASS)


def _not_for(target: Target, check: Check) -> str:
    """Why *check* is not for *target*; empty if it is."""
    if check.only and check.only != ("lmtp" if target.lmtp else "smtp"):
        return f"only for {check.only.upper()}"
    if check.clear and target.security is Security.IMPLICIT:
        return "TLS has begun already"
    if check.user and target.user is None:
        return "there is no account (--user?)"
    return ""

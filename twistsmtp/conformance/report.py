"""What came of the checks, for people and for programs."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .check import Check
from .runner import Result, Verdict

__all__ = ["as_json", "counts", "described", "exit_status", "text"]

_WIDTH = 116
_NAMES = {
    1870: "SIZE",
    2033: "LMTP",
    2034: "ENHANCEDSTATUSCODES",
    2920: "PIPELINING",
    3030: "CHUNKING",
    3207: "STARTTLS",
    3461: "DSN",
    4616: "PLAIN",
    4954: "AUTH",
    5321: "SMTP",
    6152: "8BITMIME",
    6531: "SMTPUTF8",
    8314: "implicit TLS",
    8996: "versions of TLS",
}


def counts(results: Sequence[Result]) -> Counter[Verdict]:
    """How many there are of each verdict."""
    return Counter(result.verdict for result in results)


def exit_status(results: Sequence[Result]) -> int:
    """1 where something failed, 2 where less was judged than was to be, 0 where all is well."""
    if any(result.verdict is Verdict.FAIL for result in results):
        return 1
    return 2 if any(result.wanted for result in results) or not results else 0


def described(checks: Sequence[Check]) -> str:
    """A line for each of *checks*."""
    return "".join(
        f"{check.id:32} {check.severity.value:8} {check.reference:26} {check.statement}\n" for check in checks
    )


def text(results: Sequence[Result], *, name: str, seconds: float, verbose: bool = False) -> str:
    """A report, by the RFCs.

    :param verbose: show what passed as well.
    """
    parts = [f"{name}\n"]
    for rfc in sorted({result.check.rfc for result in results}):
        of_rfc = [result for result in results if result.check.rfc == rfc]
        parts.append(f"\nRFC {rfc} {_NAMES.get(rfc, '')}: {_counted(of_rfc)}\n")
        parts += [_entry(result) for result in of_rfc if verbose or result.verdict in (Verdict.FAIL, Verdict.WARN)]
        if not verbose:
            parts.append(_skipped(of_rfc))
    parts.append(f"\n{_counted(results)}, in {seconds:.1f} seconds\n")
    if exit_status(results) == 2:
        parts.append("not all was judged that was to be: see what was skipped\n")
    return "".join(parts)


def _counted(results: Sequence[Result]) -> str:
    counted = counts(results)
    words = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.WARN: "warned of", Verdict.SKIP: "skipped"}
    return ", ".join(f"{counted[verdict]} {word}" for verdict, word in words.items() if counted[verdict])


def _entry(result: Result) -> str:
    check = result.check
    lines = [
        f"  {result.verdict.value.upper():4} {check.id}: {check.statement} ({check.reference}, {check.severity.value})"
    ]
    if result.reason:
        lines += textwrap.wrap(result.reason, _WIDTH, initial_indent="       ", subsequent_indent="       ")
    lines += [f"         {line}" for line in result.record]
    return "".join(f"{line}\n" for line in lines)


def _skipped(results: Sequence[Result]) -> str:
    """Why checks were skipped, each reason once."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.verdict is Verdict.SKIP:
            reasons.setdefault(result.reason, []).append(result.check.id)
    return "".join(f"  SKIP {_some(ids)}: {reason}\n" for reason, ids in reasons.items())


def _some(ids: Sequence[str]) -> str:
    return f"{ids[0]} and {len(ids) - 1} more" if len(ids) > 1 else ids[0]


def as_json(results: Sequence[Result], *, name: str, seconds: float) -> dict[str, Any]:
    """All of it, as what `json` writes."""
    counted = counts(results)
    return {
        "server": name,
        "seconds": round(seconds, 3),
        "counts": {verdict.value: counted[verdict] for verdict in Verdict},
        "checks": [
            {
                "id": result.check.id,
                "reference": result.check.reference,
                "severity": result.check.severity.value,
                "statement": result.check.statement,
                "verdict": result.verdict.value,
                "reason": result.reason,
                "record": list(result.record),
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }

"""The command line."""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from . import topics
from .check import CHECKS, Check
from .link import Unreachable
from .report import as_json, described, exit_status, text
from .runner import make, prepared
from .talk import Skipped
from .target import Security, Target

__all__ = ["main", "parser", "target"]

_EPILOG = """\
It leaves messages with the recipient: more than a hundred of them, and more than one where the server can be fooled.
The exit status is 0 where all is well, 1 where a "must" or a "security" check fails, and 2 where the server
cannot be judged. Certificates are not verified.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: those of the process if there are none.
    :returns: the exit status.
    """
    taker = parser()
    options = taker.parse_args(arguments)
    checks = _chosen(options.only, options.skip)
    if options.list:
        sys.stdout.write(described(checks))
        return 0
    if options.server is None:
        taker.error("HOST:PORT is missing")
    try:
        judged = target(options)
    except (ValueError, OSError) as error:
        taker.error(str(error))
    began = time.monotonic()
    try:
        judged = prepared(judged)
    except (Unreachable, Skipped) as problem:
        sys.stderr.write(f"the server cannot be judged: {problem}\n")
        return 2
    results = []
    for result in make(judged, checks, options.total):
        results.append(result)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{len(results)} of {len(checks)} {result.check.id:40.40}")
    seconds = time.monotonic() - began
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    report = as_json(results, name=options.server, seconds=seconds)
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(text(results, name=options.server, seconds=seconds, verbose=options.verbose))
    return exit_status(results)


def parser() -> argparse.ArgumentParser:
    """What takes the options."""
    taker = argparse.ArgumentParser(
        prog=f"python -m {topics.__name__.rpartition('.')[0]}",
        description="Judge an SMTP or LMTP server against the RFCs, and by every known way to smuggle mail.",
        epilog=_EPILOG,
    )
    taker.add_argument("server", metavar="HOST:PORT", nargs="?", help="the server; [::1]:25 for an IPv6 address")
    taker.add_argument("--from", dest="sender", metavar="MAILBOX", default="conformance@example.com", help="for MAIL")
    taker.add_argument(
        "--to", dest="recipient", metavar="MAILBOX", default="postmaster", help="for RCPT: one that takes mail"
    )
    taker.add_argument("--name", metavar="DOMAIN", help="for EHLO (default: the client's address in brackets)")
    taker.add_argument("--lmtp", action="store_true", help="it is an LMTP server")
    security = taker.add_mutually_exclusive_group()
    security.add_argument("--starttls", action="store_true", help="say STARTTLS before all else")
    security.add_argument("--tls", action="store_true", help="TLS from the first octet on")
    taker.add_argument("--user", help="authenticate as this user")
    taker.add_argument("--password-file", metavar="FILE", help="the password is the first line of this file")
    taker.add_argument("--only", metavar="IDS", action="append", help='these checks: "smuggling.*,data.nul"')
    taker.add_argument("--skip", metavar="IDS", action="append", help="not these checks")
    taker.add_argument("--list", action="store_true", help="list the checks")
    taker.add_argument("--json", metavar="FILE", help="write all results to this file")
    taker.add_argument("--verbose", action="store_true", help="report what passed as well")
    taker.add_argument("--timeout", metavar="SECONDS", type=float, default=5.0, help="for one reply (default: 5)")
    taker.add_argument("--total", metavar="SECONDS", type=float, default=180.0, help="for all checks (default: 180)")
    return taker


def _chosen(only: Sequence[str] | None, skip: Sequence[str] | None) -> list[Check]:
    """The checks whose ids are among *only*, all if that is ``None``, and not among *skip*."""
    return [
        check for id, check in CHECKS.items() if (only is None or _is_among(id, only)) and not _is_among(id, skip or ())
    ]


def _is_among(id: str, lists: Sequence[str]) -> bool:
    patterns = [pattern.strip() for each in lists for pattern in each.split(",")]
    return any(fnmatchcase(id, pattern) or id.startswith(f"{pattern}.") for pattern in patterns)


def target(options: argparse.Namespace) -> Target:
    """The server that the options name.

    :raises ValueError: an option is wrong.
    :raises OSError: the password cannot be read.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^:\[\]]+)):([0-9]{1,5})", options.server)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ValueError(f"{options.server!r} is not HOST:PORT")
    if (options.user is None) != (options.password_file is None):
        raise ValueError("--user and --password-file belong together")
    for path in (options.sender, options.recipient):
        if not path.isascii() or not path.isprintable() or set("<>") & set(path):
            raise ValueError(f"{path!r} is no mailbox, which has no brackets here")
    password = ""
    if options.password_file is not None:
        password = Path(options.password_file).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    return Target(
        host=match[1] or match[2],
        port=int(match[3]),
        sender=options.sender,
        recipient=options.recipient,
        name=options.name,
        security=Security.IMPLICIT if options.tls else Security.STARTTLS if options.starttls else Security.NONE,
        lmtp=options.lmtp,
        user=options.user,
        password=password,
        timeout=options.timeout,
        patience=4 * options.timeout,
    )

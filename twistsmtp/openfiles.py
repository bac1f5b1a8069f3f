"""How many files the process may have open, which is how many connections it may have."""

import resource
from contextlib import suppress

from twisted.logger import Logger

__all__ = ["allow_connections", "raise_file_limit"]

#: Files that are open apart from the connections': ports, the log, the reactor's own, what threads open.
OTHER_FILES = 100

_log = Logger(namespace="twistsmtp.service")


def raise_file_limit(wanted: int) -> int:
    """Have the system allow this process *wanted* open files, or as many as it will.

    :returns: how many it allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= wanted:
        return wanted if soft == endless else soft
    greater, possible = (hard, wanted) if hard == endless else (max(wanted, hard), min(wanted, hard))
    for limits in ((wanted, greater), (possible, hard)):  # the former may be for root alone
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
    return soft


def allow_connections(connections: int) -> None:
    """Have the system allow the files that *connections* take, or log how many there can be: each is a file, and each
    message that comes may be another."""
    files = raise_file_limit(2 * connections + OTHER_FILES)
    if files < connections + OTHER_FILES:
        _log.warn(
            "only {files} files may be open (ulimit -n), so there can be no more than {possible} connections, "
            "though max-connections is {connections}",
            files=files,
            possible=max(files - OTHER_FILES, 0),
            connections=connections,
        )

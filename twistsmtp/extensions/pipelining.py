"""PIPELINING (RFC 2920): the client need not wait for a reply before the next command.

The protocol runs commands in order whether or not this is offered, and sends a batch's replies in one write, as
section 3.2 asks; the extension is the promise.
"""

from twistsmtp.verb import Extension

__all__ = ["extension"]


def extension() -> Extension:
    """All that it adds."""
    return Extension(name="pipelining", rfc="RFC 2920", keyword="PIPELINING")

"""ENHANCEDSTATUSCODES (RFC 2034): replies carry the status codes of RFC 3463, whether the client said EHLO or HELO."""

from operator import attrgetter

from twistsmtp.verb import Extension

__all__ = ["extension"]


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="enhancedstatuscodes",
        rfc="RFC 2034",
        keyword="ENHANCEDSTATUSCODES",
        reply_octets=attrgetter("octets"),
    )

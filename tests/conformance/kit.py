"""What the tests of the checks share."""

import ssl
from dataclasses import replace
from functools import cache
from typing import Any

from tests.conformance.server import PASSWORD, USER, Defects, Server
from tests.tls.support import issue
from twistsmtp.conformance.check import Check
from twistsmtp.conformance.runner import Result, make
from twistsmtp.conformance.target import Security, Target

__all__ = ["context", "judge", "options", "target"]


@cache
def context(*, old: bool = False) -> ssl.SSLContext:
    """A server's.

    :param old: whether it speaks TLS 1.0, as well as this OpenSSL does.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue("mx.test").configure_cert(made)
    if old:
        made.minimum_version = ssl.TLSVersion.TLSv1
        made.set_ciphers("ALL:@SECLEVEL=0")
    return made


def target(port: int, **settings: Any) -> Target:
    """The server on *port* of this machine."""
    return Target(**{"host": "127.0.0.1", "port": port, "recipient": "bob@mx.test", "timeout": 2.0, **settings})


def options(check: Check) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a server is made that *check* is for, and how it is talked to."""
    if check.only == "lmtp":
        return {"lmtp": True}, {"lmtp": True}
    if check.id == "tls.greeting":
        return {"implicit": True}, {"security": Security.IMPLICIT}
    if check.user or check.id.startswith("auth.") or check.id == "starttls.not-offered":
        return {}, {"security": Security.STARTTLS, "user": USER, "password": PASSWORD}
    return {}, {}


def judge(check: Check, defects: Defects, *, timeout: float = 2.0) -> Result:
    """What *check* makes of a server with *defects*.

    :param timeout: seconds for one reply.
    """
    server, client = options(check)
    with Server(context(old="old-tls" in defects.flags), defects, **server) as running:
        [result] = make(target(running.port, timeout=timeout, **client), [check], 60)
    return replace(result, seconds=0.0)

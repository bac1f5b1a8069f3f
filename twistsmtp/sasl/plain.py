"""PLAIN (RFC 4616): a name and a password, in one message."""

from twisted.cred.credentials import IUsernamePassword, UsernamePassword

from twistsmtp.sasl.api import Context, Exchange, Malformed, Mechanism, ask, log_in
from twistsmtp.sasl.prep import identities, prepared

__all__ = ["MECHANISM"]


def _plain(context: Context) -> Exchange:
    # message = [authzid] UTF8NUL authcid UTF8NUL passwd
    parts = (yield from ask()).split(b"\0", 3)
    if len(parts) != 3:
        raise Malformed("not three parts")
    authorization = prepared(parts[0], "authorization identity") if parts[0] else None
    username = prepared(parts[1], "username")
    password = prepared(parts[2], "password")
    yield from log_in(UsernamePassword(username.encode(), password.encode()), *identities(username, authorization))


MECHANISM = Mechanism(name="PLAIN", start=_plain, interface=IUsernamePassword)

"""OAUTHBEARER (RFC 7628) and XOAUTH2, which it grew out of and which Google and Microsoft have: a bearer token.

Neither can tell the client why it failed (RFC 4422 section 3.6), so both do it in one more challenge, in JSON, to
which the response says nothing; then they fail.
"""

import json
import re

from twistsmtp.sasl.api import Context, Denied, Exchange, Malformed, Mechanism, ask, log_in
from twistsmtp.sasl.credentials import BearerToken, IBearerToken
from twistsmtp.sasl.prep import prepared

__all__ = ["OAUTHBEARER", "XOAUTH2"]

#: Octets of a token, and of a message from the client.
_TOKEN_LIMIT = 8192
_LIMIT = 16_384

# kvsep      = %x01
# key        = 1*(ALPHA)
# value      = *(VCHAR / SP / HTAB / CR / LF )   ; and XOAUTH2's user in UTF-8
# kvpair     = key "=" value kvsep
_PAIR = re.compile(rb"([A-Za-z]+)=([\t\n\r -~\x80-\xff]*)")

# gs2-header = gs2-cb-flag "," [gs2-authzid] ","   ; RFC 5801 section 4; nothing is bound here
# saslname   = 1*(UTF8-char-safe / "=2C" / "=3D")
_HEADER = re.compile(rb"[ny],(?:a=((?:[^\0,=]|=2C|=3D)+))?,\x01")

# b64token    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="   ; RFC 6750 section 2.1
# credentials = "Bearer" 1*SP b64token
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)


def _pairs(octets: bytes) -> dict[bytes, bytes]:
    """The pairs of ``*kvpair kvsep``."""
    *fields, last = octets[:-1].split(b"\x01")
    pairs = {match[1]: match[2] for match in map(_PAIR.fullmatch, fields) if match is not None}
    if last or not octets.endswith(b"\x01") or len(pairs) != len(fields):
        raise Malformed("not pairs of keys and values")
    return pairs


def _log_in(authorization: bytes | None, username: str | None, *, bad: str, unauthorized: str) -> Exchange:
    """Log in with the token in *authorization*, what would be in HTTP's header.

    :param bad: the status that the client is told of what is no bearer token.
    :param unauthorized: the status that it is told where the token is not right, or where there is none yet: so may a
        client ask what it needs (RFC 7628 section 4.3).
    """
    bearer = _BEARER.fullmatch(authorization or b"")
    if bearer is not None and len(bearer[1]) > _TOKEN_LIMIT:
        raise Malformed("token too long")
    try:
        if bearer is None:
            raise Denied("no bearer token")
        yield from log_in(BearerToken(bearer[1].decode(), username), username)
    except Denied:
        status = bad if authorization and bearer is None else unauthorized
        yield from ask(json.dumps({"status": status, "schemes": "bearer"}).encode())
        raise


def _oauthbearer(context: Context) -> Exchange:
    # client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep
    message = yield from ask()
    header = _HEADER.match(message)
    if header is None or len(message) > _LIMIT:
        raise Malformed("not a gs2-header")
    username = None
    if header[1] is not None:
        username = prepared(header[1].replace(b"=2C", b",").replace(b"=3D", b"="), "authorization identity")
    rest = message[header.end() :]
    if not rest.isascii():
        raise Malformed("not ASCII")
    pairs = _pairs(rest)
    yield from _log_in(pairs.get(b"auth"), username, bad="invalid_request", unauthorized="invalid_token")


def _xoauth2(context: Context) -> Exchange:
    # "user=" {User} "^Aauth=Bearer " {Access Token} "^A^A"
    message = yield from ask()
    if len(message) > _LIMIT:
        raise Malformed("message too long")
    pairs = _pairs(message)
    username = prepared(pairs.get(b"user", b""), "username")
    yield from _log_in(pairs.get(b"auth"), username, bad="400", unauthorized="401")


OAUTHBEARER = Mechanism(name="OAUTHBEARER", start=_oauthbearer, interface=IBearerToken)
XOAUTH2 = Mechanism(name="XOAUTH2", start=_xoauth2, interface=IBearerToken)

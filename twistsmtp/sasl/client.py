"""The client's side of the SASL mechanisms: which to try, and all but SCRAM, which `client_scram` has.

`choose` takes the strongest that the server offers, and none that shows it the secret as it is where somebody else may
be listening, or may be the server.
"""

import hmac
from collections.abc import Callable, Iterable

from twistsmtp.sasl.client_api import NAMES, ClientContext, ClientMechanism, Credentials, Failed, Responses, respond
from twistsmtp.sasl.client_scram import binds, scram

__all__ = ["MECHANISMS", "ClientContext", "ClientMechanism", "Credentials", "Failed", "choose"]


def choose(offered: Iterable[str], credentials: Credentials, context: ClientContext) -> list[ClientMechanism]:
    """The mechanisms to try, the strongest first, or in the order of ``credentials.mechanisms``.

    :param offered: their names, as the server has them.
    """
    names = {each.upper() for each in offered}
    usable = [
        each
        for each in MECHANISMS
        if each.name in names
        and each.fits(credentials, context)
        and (context.verified or credentials.plaintext or not each.plaintext)
    ]
    if not credentials.mechanisms:
        return usable
    wanted = [each.upper() for each in credentials.mechanisms]
    return sorted((each for each in usable if each.name in wanted), key=lambda each: wanted.index(each.name))


# --- who fits -----------------------------------------------------------------------------------------------


def _has_password(credentials: Credentials, context: ClientContext) -> bool:
    return bool(credentials.password)


def _has_password_alone(credentials: Credentials, context: ClientContext) -> bool:
    return bool(credentials.password) and not credentials.authorization  # there is no room for it


def _has_password_and_binds(credentials: Credentials, context: ClientContext) -> bool:
    return bool(credentials.password) and binds(context)


def _has_token(credentials: Credentials, context: ClientContext) -> bool:
    return bool(credentials.token)


def _has_named_token(credentials: Credentials, context: ClientContext) -> bool:
    return bool(credentials.token and credentials.username and not credentials.authorization)


def _has_certificate(credentials: Credentials, context: ClientContext) -> bool:
    return context.certificate and not (credentials.password or credentials.token)


# --- the mechanisms -----------------------------------------------------------------------------------------


def _plain(credentials: Credentials, context: ClientContext) -> Responses:
    # RFC 4616 section 2: message = [authzid] UTF8NUL authcid UTF8NUL passwd
    yield "\0".join((credentials.authorization, credentials.username, credentials.password)).encode()


def _login(credentials: Credentials, context: ClientContext) -> Responses:
    yield from respond(None)
    yield from respond(credentials.username.encode())
    yield credentials.password.encode()


def _cram_md5(credentials: Credentials, context: ClientContext) -> Responses:
    # RFC 2195 section 2
    challenge = yield from respond(None)
    digest = hmac.digest(credentials.password.encode(), challenge, "md5").hex()
    yield f"{credentials.username} {digest}".encode()


def _external(credentials: Credentials, context: ClientContext) -> Responses:
    # RFC 4422 appendix A: the certificate says who we are, unless we say whom we act as.
    yield (credentials.authorization or credentials.username).encode()


def _xoauth2(credentials: Credentials, context: ClientContext) -> Responses:
    error = yield f"user={credentials.username}\x01auth=Bearer {credentials.token}\x01\x01".encode()
    if error is not None:  # it tells why, and fails when it has been told that we know
        yield b""


def _oauthbearer(credentials: Credentials, context: ClientContext) -> Responses:
    # RFC 7628 section 3.1
    who = (credentials.authorization or credentials.username).replace("=", "=3D").replace(",", "=2C")
    authzid = f"a={who}" if who else ""
    place = f"host={context.host}\x01port={context.port}\x01" if context.host and context.port else ""
    error = yield f"n,{authzid},\x01{place}auth=Bearer {credentials.token}\x01\x01".encode()
    if error is not None:  # section 3.2.3
        yield b"\x01"


_Fits = Callable[[Credentials, ClientContext], bool]
_TABLE: dict[str, tuple[Callable[[Credentials, ClientContext], Responses], _Fits, bool, bool]] = {
    # name: its start, who fits, whether it shows the secret, whether it is slow
    "EXTERNAL": (_external, _has_certificate, False, False),
    "SCRAM-SHA-256-PLUS": (scram("sha-256", plus=True), _has_password_and_binds, False, True),
    "SCRAM-SHA-1-PLUS": (scram("sha-1", plus=True), _has_password_and_binds, False, True),
    "SCRAM-SHA-256": (scram("sha-256", plus=False), _has_password, False, True),
    "SCRAM-SHA-1": (scram("sha-1", plus=False), _has_password, False, True),
    "OAUTHBEARER": (_oauthbearer, _has_token, True, False),
    "XOAUTH2": (_xoauth2, _has_named_token, True, False),
    "CRAM-MD5": (_cram_md5, _has_password_alone, False, False),
    "PLAIN": (_plain, _has_password, True, False),
    "LOGIN": (_login, _has_password_alone, True, False),
}


def _mechanism(name: str) -> ClientMechanism:
    start, fits, plaintext, slow = _TABLE[name]
    return ClientMechanism(name=name, start=start, fits=fits, plaintext=plaintext, slow=slow)


#: All that there are here, the strongest first.
MECHANISMS = tuple(map(_mechanism, NAMES))

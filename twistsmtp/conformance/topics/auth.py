"""AUTH (RFC 4954): what needs no account."""

import base64
from functools import partial

from ..check import MUST, SECURITY, SHOULD, check
from ..talk import Failed, Skipped, Start, Talk, expect

__all__: list[str] = []

_SECRET = "conformance-secret-7c1f"


def _offered(talk: Talk) -> str:
    """A mechanism in which the client may be asked for a response."""
    _hello(talk)
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        if mechanism in talk.mechanisms:
            return mechanism
    raise Skipped("none of PLAIN, LOGIN and CRAM-MD5 is offered by AUTH")


def _hello(talk: Talk) -> None:
    """Come to EHLO, but authenticate as nobody."""
    talk.greet()
    if "AUTH" not in talk.keywords:
        raise Skipped("AUTH is not offered")
    if not talk.link.encrypted:
        reply = talk.say("AUTH XFOOBAR")
        if reply.is_one_of("530", "538"):
            raise Skipped(f"AUTH was answered by {reply} (--starttls?)")


def _asked(talk: Talk) -> str:
    mechanism = _offered(talk)
    talk.ask(f"AUTH {mechanism}", "334")
    return mechanism


@check("auth.clear", 4954, "4", SHOULD, clear=True)
def clear(talk: Talk) -> None:
    """PLAIN and LOGIN are not offered without TLS."""
    open_ones = [name for name in ("PLAIN", "LOGIN") if name in talk.mechanisms]
    if open_ones:
        raise Failed(f"AUTH offers {' and '.join(open_ones)}")


@check("auth.unknown", 4954, "4", MUST, start=Start.GREETED)
def unknown(talk: Talk) -> None:
    """An unknown mechanism is answered by 504."""
    _hello(talk)
    talk.ask("AUTH XFOOBAR", "504")


@check("auth.argument", 4954, "4", MUST, start=Start.GREETED)
def argument(talk: Talk) -> None:
    """AUTH without a mechanism is refused."""
    _hello(talk)
    talk.ask("AUTH", "5")


@check("auth.case", 4954, "4", MUST, start=Start.GREETED)
def case(talk: Talk) -> None:
    """AUTH is understood in lower case."""
    mechanism = _offered(talk)
    talk.ask(f"auth {mechanism}", "334")


@check("auth.cancel", 4954, "4", MUST, start=Start.GREETED)
def cancel(talk: Talk) -> None:
    """ "*" gives up, and is answered by 501."""
    _asked(talk)
    talk.ask("*", "501")
    talk.ask("NOOP", "250")


def _no_base64(text: str, talk: Talk) -> None:
    _asked(talk)
    talk.ask(text, "501")


for _name, _text in (("alphabet", "!!!!"), ("pad-first", "=AAA"), ("pad-inside", "AAA=BBB="), ("length", "AAAAA")):
    check(
        f"auth.base64-{_name}", 4954, "4", MUST, start=Start.GREETED, says=f"{_text} is no base64, and answered by 501"
    )(partial(_no_base64, _text))


@check("auth.initial", 4954, "4", MUST, start=Start.GREETED)
def initial(talk: Talk) -> None:
    """An initial response that is no base64 is answered by 501."""
    _hello(talk)
    if "PLAIN" not in talk.mechanisms:
        raise Skipped("AUTH does not offer PLAIN")
    talk.ask("AUTH PLAIN !!!!", "501")


@check("auth.continued", 4954, "4", SECURITY, start=Start.GREETED)
def continued(talk: Talk) -> None:
    """A command in the place of a response is none."""
    _asked(talk)
    talk.ask(talk.mail, "5")
    reply = talk.say(talk.rcpt)
    if reply.is_one_of("2"):
        raise Failed(f"{talk.rcpt} was answered by {reply}: MAIL was carried out")


@check("auth.continued-together", 4954, "4", SECURITY, start=Start.GREETED)
def continued_together(talk: Talk) -> None:
    """A command behind AUTH in the same segment is a response."""
    talk.send_lines(f"AUTH {_offered(talk)}", talk.mail)
    expect(talk.link.read(), "334", what="AUTH")
    reply = talk.alone("a command behind AUTH")
    if reply is not None:
        expect(reply, "5", what="a command behind AUTH")


@check("auth.continued-lf", 4954, "4", SECURITY, start=Start.GREETED)
def continued_lf(talk: Talk) -> None:
    """A bare LF does not end a response."""
    _asked(talk)
    talk.link.send(b"KG\nNOOP\r\n")
    talk.alone("a response with a bare LF")


@check("auth.long", 4954, "4", SHOULD, start=Start.GREETED)
def long(talk: Talk) -> None:
    """A response of 12288 octets is read, and then judged."""
    _asked(talk)
    reply = talk.say("QUFB" * (12284 // 4))
    if reply.is_one_of("2", "500"):
        raise Failed(f"a response of 12286 octets was answered by {reply}")


def _too_long(size: int, talk: Talk) -> None:
    _asked(talk)
    talk.link.send((b"NOOP " * (size // 5 + 1))[:size] + b"\r\n")
    talk.alone(f"a response of {size} octets")


for _size in (12300, 16386, 65538, 300000):
    check(
        f"auth.long-{_size}",
        4954,
        "4",
        SECURITY,
        start=Start.GREETED,
        says=f"A response of {_size} octets is one line, if that, and its end is no command",
    )(partial(_too_long, _size))


@check("auth.transaction", 4954, "4", MUST, start=Start.MAIL)
def transaction(talk: Talk) -> None:
    """AUTH in a transaction is answered by 503."""
    if "AUTH" not in talk.keywords:
        raise Skipped("AUTH is not offered")
    reply = talk.say("AUTH PLAIN")
    if reply.is_one_of("530", "538"):
        raise Skipped(f"AUTH was answered by {reply} (--starttls?)")
    expect(reply, "503", what="AUTH in a transaction")


@check("auth.wrong", 4954, "6", MUST, start=Start.GREETED)
def wrong(talk: Talk) -> None:
    """Wrong credentials are refused, and not repeated in the reply."""
    _hello(talk)
    if "PLAIN" not in talk.mechanisms:
        raise Skipped("AUTH does not offer PLAIN")
    word = base64.b64encode(f"\0conformance-nobody\0{_SECRET}".encode()).decode()
    reply = talk.ask(f"AUTH PLAIN {word}", "535", "454")
    if _SECRET.encode() in reply.octets or word.encode() in reply.octets:
        raise Failed(f"the reply has the password in it: {reply}")


@check("auth.nuls", 4616, "2", MUST, start=Start.GREETED)
def nuls(talk: Talk) -> None:
    """A message of PLAIN without its two NULs, or with more, is refused."""
    _hello(talk)
    if "PLAIN" not in talk.mechanisms:
        raise Skipped("AUTH does not offer PLAIN")
    for octets in (b"conformance-nobody", b"\0a\0b\0c"):
        talk.ask(b"AUTH PLAIN " + base64.b64encode(octets), "5")

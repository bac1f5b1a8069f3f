"""DSN (RFC 3461)."""

from functools import partial

from ..check import MUST, SHOULD, check
from ..talk import Start, Talk, expect

__all__: list[str] = []

_KEYWORD = ("DSN",)


def _mail(parameters: str, code: str, talk: Talk) -> None:
    talk.ask(f"{talk.mail} {parameters}", code)


def _rcpt(parameters: str, code: str, talk: Talk) -> None:
    talk.ask(f"{talk.rcpt} {parameters}", code)


for _name, _parameters in (
    ("ret", "RET=HDRS"),
    ("ret-case", "ret=full"),
    ("envid", "ENVID=QQ314159"),
    ("envid-xtext", "RET=FULL ENVID=a+2Bb+3Dc"),
    ("envid-100", f"ENVID={'x' * 100}"),
):
    check(f"dsn.{_name}", 3461, "5.1", MUST, needs=_KEYWORD, says=f"MAIL takes {_parameters[:32]}")(
        partial(_mail, _parameters, "250")
    )

for _name, _parameters in (
    ("bad-ret", "RET=ALL"),
    ("bad-envid", "ENVID=a+ZZ"),
    ("two-rets", "RET=FULL RET=HDRS"),
    ("two-envids", "ENVID=a ENVID=b"),
):
    check(f"dsn.{_name}", 3461, "5.1", MUST, needs=_KEYWORD, says=f"MAIL with {_parameters} is answered by 501")(
        partial(_mail, _parameters, "501")
    )

for _name, _parameters in (
    ("notify", "NOTIFY=SUCCESS,FAILURE,DELAY"),
    ("notify-never", "NOTIFY=never"),
    ("orcpt", "ORCPT=rfc822;postmaster+2Bx@example.com"),
):
    check(f"dsn.{_name}", 3461, "5.1", MUST, needs=_KEYWORD, start=Start.MAIL, says=f"RCPT takes {_parameters}")(
        partial(_rcpt, _parameters, "25")
    )

for _name, _parameters in (
    ("bad-notify", "NOTIFY=NEVER,SUCCESS"),
    ("unknown-notify", "NOTIFY=ALWAYS"),
    ("two-notifies", "NOTIFY=NEVER NOTIFY=DELAY"),
    ("bad-orcpt", "ORCPT=postmaster@example.com"),
):
    check(
        f"dsn.{_name}",
        3461,
        "5.1",
        SHOULD,
        needs=_KEYWORD,
        start=Start.MAIL,
        says=f"RCPT with {_parameters} is refused",
    )(partial(_rcpt, _parameters, "5"))


@check("dsn.long-orcpt", 3461, "4.2", MUST, needs=_KEYWORD, start=Start.MAIL)
def long_orcpt(talk: Talk) -> None:
    """ORCPT makes the line of RCPT 500 octets longer."""
    value = "rfc822;" + "+2B" * 60 + "@" + ".".join(["+62" * 50] * 2) + ".com"
    expect(talk.say(f"{talk.rcpt} NOTIFY=DELAY ORCPT={value}"), "25", what="RCPT with a long ORCPT")

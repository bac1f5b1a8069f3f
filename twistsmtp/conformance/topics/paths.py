"""MAIL and RCPT: paths, mailboxes and parameters (RFC 5321 sections 4.1.1.2, 4.1.1.3, 4.1.2, 4.1.3)."""

from functools import partial

from ..check import MUST, SHOULD, check
from ..replies import Reply
from ..talk import Failed, Skipped, Start, Talk, expect

__all__: list[str] = []


def _well_formed(reply: Reply, what: str) -> None:
    """*reply* does not say that the syntax is wrong. It may refuse for a reason of its own."""
    if reply.is_one_of("500", "501", "502", "503", "504", "553", "555", "421"):
        raise Failed(f"{what} was answered by {reply}")
    if not reply.is_one_of("2"):
        raise Skipped(f"{what} was answered by {reply}")


def _mail(path: str, talk: Talk) -> None:
    command = f"MAIL FROM:<{path.replace('{domain}', talk.target.sender_domain)}>"
    _well_formed(talk.say(command), command)


for _id, _path, _section, _severity, _says in (
    ("null", "", "3.6.3", MUST, "The null reverse-path is taken"),
    ("quoted", '"a b"@{domain}', "4.1.2", MUST, "A quoted local-part is taken"),
    ("quoted-pair", '"a\\"b\\\\c"@{domain}', "4.1.2", MUST, "A quoted local-part has quoted pairs"),
    ("quoted-specials", '"a>b@c,d:e;f"@{domain}', "4.1.2", MUST, "A quoted local-part has > and @ in it"),
    ("atext", "!#$%&'*+-/=?^_`{|}~@{domain}", "4.1.2", MUST, "A local-part has all that atext has"),
    ("literal", "a@[192.0.2.1]", "4.1.3", SHOULD, "An IPv4 address literal is taken"),
    ("literal-ipv6", "a@[IPv6:2001:db8::1]", "4.1.3", SHOULD, "An IPv6 address literal is taken"),
    ("route", "@hosta.example,@hostb.example:a@{domain}", "4.1.2", MUST, "A source route in MAIL is taken"),
    ("local-64", f"{'a' * 64}@{{domain}}", "4.5.3.1.1", MUST, "A local-part of 64 octets is taken"),
    (
        "path-256",
        f"{'a' * 64}@{'.'.join(['b' * 61, 'c' * 61, 'd' * 61])}.b",
        "4.5.3.1.3",
        MUST,
        "A reverse-path of 254 octets is taken",
    ),
):
    check(f"paths.{_id}", 5321, _section, _severity, says=_says)(partial(_mail, _path))


@check("paths.null-rcpt", 5321, "3.6.3", MUST)
def null_rcpt(talk: Talk) -> None:
    """A recipient takes mail from the null reverse-path."""
    talk.ask("MAIL FROM:<>", "250")
    talk.ask(talk.rcpt, "25")


@check("paths.postmaster", 5321, "4.5.1", MUST, start=Start.MAIL, only="smtp")
def postmaster(talk: Talk) -> None:
    """<Postmaster> needs no domain, in whatever case."""
    talk.ask("RCPT TO:<Postmaster>", "25")
    talk.ask("RCPT TO:<postMASTER>", "25")


@check("paths.rcpt-quoted", 5321, "4.1.2", MUST, start=Start.RCPT)
def rcpt_quoted(talk: Talk) -> None:
    """A local-part in quotes is the same as it is without them."""
    local, domain = _parts(talk)
    talk.ask(f'RCPT TO:<"{local}"@{domain}>', "25")


@check("paths.domain-case", 5321, "2.4", MUST, start=Start.RCPT)
def domain_case(talk: Talk) -> None:
    """The case of a domain does not matter."""
    local, domain = _parts(talk)
    talk.ask(f"RCPT TO:<{local}@{domain.swapcase()}>", "25")


@check("paths.rcpt-route", 5321, "4.1.1.3", MUST, start=Start.RCPT)
def rcpt_route(talk: Talk) -> None:
    """A source route in RCPT is understood, whatever becomes of it."""
    local, domain = _parts(talk)
    command = f"RCPT TO:<@hosta.example,@hostb.example:{local}@{domain}>"
    _well_formed(talk.say(command), command)


def _parts(talk: Talk) -> tuple[str, str]:
    local, _, domain = talk.target.recipient.rpartition("@")
    if not local or local.startswith('"'):
        raise Skipped("the recipient has no domain, or is quoted (--to?)")
    return local, domain


def _malformed(command: str, talk: Talk) -> None:
    talk.ask(command, "5")


# What lacks its argument, or has a character in it that has no place there, has to be refused (sections 4.1.4, 4.1.2).
# With what else is not by the grammar a server may have its reasons to put up.
for _place, (_severity, _command) in enumerate(
    (
        (MUST, "MAIL"),
        (MUST, "MAIL FROM:"),
        (MUST, "MAIL TO:<a@example.com>"),
        (SHOULD, "MAIL FROM:<a@example.com"),
        (MUST, "MAIL FROM:<a b@example.com>"),
        (SHOULD, "MAIL FROM:<@example.com>"),
        (SHOULD, "MAIL FROM:<a@>"),
        (MUST, "MAIL FROM:<a@exa mple.com>"),
        (MUST, "MAIL FROM:<a@exa!mple.com>"),
        (SHOULD, "MAIL FROM:<a@b@example.com>"),
        (SHOULD, "MAIL FROM:<a@example..com>"),
        (SHOULD, "MAIL FROM:<a..b@example.com>"),
        (SHOULD, 'MAIL FROM:<"a@example.com>'),
        (SHOULD, "MAIL FROM:<a@[192.0.2.999]>"),
        (SHOULD, "MAIL FROM:<a@example.com>x"),
        (MUST, "RCPT"),
        (MUST, "RCPT TO:"),
        (SHOULD, "RCPT TO:<>"),
        (MUST, "RCPT TO:<a b@example.com>"),
        (SHOULD, "RCPT TO:<@example.com>"),
    ),
    1,
):
    check(
        f"paths.malformed-{_place}",
        5321,
        "4.1.2" if "<" in _command else "4.1.4",
        _severity,
        start=Start.MAIL if _command.startswith("RCPT") else Start.HELLO,
        says=f"{_command} is refused",
    )(partial(_malformed, _command))


@check("paths.eight-bit", 5321, "2.4", SHOULD)
def eight_bit(talk: Talk) -> None:
    """A mailbox that is not ASCII is refused, where MAIL has no SMTPUTF8."""
    talk.ask("MAIL FROM:<usér@example.com>", "5")


@check("paths.not-utf8", 5321, "2.4", SHOULD)
def not_utf8(talk: Talk) -> None:
    """A mailbox that is neither ASCII nor UTF-8 is refused."""
    talk.ask(b"MAIL FROM:<us\xe9r@example.com>", "5")


def _parameter(command: str, code: str, talk: Talk) -> None:
    talk.ask(f"{talk.mail if command == 'MAIL' else talk.rcpt} XFOOBAR=1", code)


for _command, _start in (("MAIL", Start.HELLO), ("RCPT", Start.MAIL)):
    for _code, _severity, _said in (("5", MUST, "refused"), ("555", SHOULD, "answered by 555")):
        check(
            f"paths.{_command.lower()}-parameter{'-555' if _severity is SHOULD else ''}",
            5321,
            "4.1.1.11",
            _severity,
            start=_start,
            says=f"An unknown parameter of {_command} is {_said}",
        )(partial(_parameter, _command, _code))


@check("paths.bad-parameter", 5321, "4.1.2", MUST)
def bad_parameter(talk: Talk) -> None:
    """A parameter that is none by its form is refused."""
    talk.ask(f"{talk.mail} =1", "5")


@check("paths.hundred", 5321, "4.5.3.1.8", MUST, start=Start.MAIL, only="smtp")
def hundred(talk: Talk) -> None:
    """A transaction takes 100 recipients."""
    for place in range(1, 101):
        reply = talk.say(talk.rcpt)
        expect(reply, "25", what=f"recipient {place}")
    expect(talk.message(b"Subject: conformance\r\n\r\ntext"), "250", what="the message")

"""The same conversations with the original and with ours, line by line. Each difference has its reason."""

import base64
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.compat.aiosmtpd.kit import Talk, serving

OURS, ORIGINAL = "twistsmtp.compat.aiosmtpd", "aiosmtpd"
LACKING = None if find_spec(ORIGINAL) else "aiosmtpd is not installed: pip install twistsmtp[dev]"

MESSAGE = b"Subject: x\r\n\r\n..dots\r\nhello\r\n"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# --- handlers ------------------------------------------------------------------------------------------------


class Hooks:
    """Has a hook for everything, and its own words."""

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        session.host_name = hostname
        return f"250 {hostname}, hello"

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:
        session.host_name = hostname
        return [*responses[:-1], "250-XTRA", responses[-1]]

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address.endswith("@refused.test"):
            return "550 not from there"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return f"250 from {address} {options}"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address.endswith("@raise.test"):
            raise ValueError("no such luck")
        envelope.rcpt_tos.append(address)
        return f"250 to {address}"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return f"250 {len(envelope.content)} octets for {len(envelope.rcpt_tos)}"

    async def handle_RSET(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 forgotten"

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str | None) -> str:
        return f"250 {arg!r}"

    async def handle_VRFY(self, server: Any, session: Any, envelope: Any, address: str) -> str:
        return f"252 {address}?"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        return "221 so long"

    async def handle_exception(self, error: Exception) -> str:
        return f"451 {type(error).__name__}"


class Mechanisms:
    async def auth_X__TOKEN(self, server: Any, args: list[str]) -> Any:
        answer = await server.challenge_auth("token, please")
        return "somebody" if answer == b"secret" else False


class OldEhlo:
    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        session.host_name = hostname
        await server.push("250-OLD")
        return "250 last"


class Older:
    def process_message(self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any) -> str | None:
        return f"250 {mailfrom} {rcpttos} {len(data)}" if mailfrom != "n@n.test" else None


class Failing:
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        raise ValueError("password=hunter2")


def let_in(mechanism: str, login: bytes, password: bytes) -> bool:
    return (login, password) == (b"ada", b"enigma")


def subclass(package: str) -> Any:
    smtp = import_module(f"{package}.smtp")

    class Server(smtp.SMTP):  # type: ignore[misc, name-defined]
        @smtp.syntax("PING [ignored]", extended=" [more]")
        async def smtp_PING(self, arg: str | None) -> None:
            await self.push(f"259 Pong {arg}")

        async def smtp_NOOP(self, arg: str | None) -> None:
            await self.push("250-first")
            await super().smtp_NOOP(arg)

        async def smtp_MAIL(self, arg: str | None) -> None:
            if arg and "spam" in arg:
                await self.push("550 no spam")
            else:
                await super().smtp_MAIL(arg)

    return Server


# --- conversations -------------------------------------------------------------------------------------------

Script = Sequence[str | bytes]


def begun(*lines: str | bytes) -> list[str | bytes]:
    return ["EHLO client.test", "MAIL FROM:<a@a.test>", "RCPT TO:<b@b.test>", *lines]


COMMANDS: Script = [
    "HELP",
    "HELP mail",
    "HELP nothing",
    "MAIL FROM:<a@a.test>",
    "RCPT TO:<b@b.test>",
    "DATA",
    "HELO",
    "HELO client.test",
    "AUTH PLAIN",
    "MAIL FROM:<a@a.test> SIZE=10",
    "EHLO",
    "EHLO client.test",
    "EHLO client.test",
    "HELP MAIL",
    "HELP starttls",
    "NOOP",
    "NOOP something",
    "noop",
    "VRFY",
    "VRFY <b@b.test>",
    "VRFY @@",
    "EXPN list",
    "RSET",
    "RSET now",
    "STARTTLS",
    "",
    "FOO",
    "FOO bar",
    b"\x80FOO",
    b"NOOP \xff",
    "QUIT now",
    "AUTH PLAIN",
    "QUIT",
]

PATHS: Script = [
    "EHLO client.test",
    *(
        line
        for path in (
            "<a@a.test>",
            "a@a.test",
            "<a>",
            "a",
            "<>",
            "<a@a.test",
            "a@a.test>",
            "< a@a.test >",
            '<"a b"@a.test>',
            '<"a\\"b"@a.test>',
            "<a(comment)@a.test>",
            "<@x.test,@y.test:a@a.test>",
            "<a@[192.0.2.1]>",
            "<a@[IPv6:2001:db8::1]>",
            "<a..b@a.test>",
            "<.a@a.test>",
            "<@a.test>",
            "<a@>",
            "<a@a.test> SIZE=1",
            "<a@a.test>SIZE=1",
            "<a@a.test> SIZE=x",
            "<a@a.test> SIZE",
            "<a@a.test> SIZE=99999999999",
            "<a@a.test> BODY=8BITMIME",
            "<a@a.test> BODY=other",
            "<a@a.test> body=7bit size=3",
            "<a@a.test> SMTPUTF8",
            "<a@a.test> SMTPUTF8=x",
            "<a@a.test> OTHER=x",
            "<a@a.test> =x",
            "<a@a.test> X=",
            "Ada <a@a.test>",
            "(((((((((a@a.test",
            '"a@a.test',
            "",
        )
        for line in (f"MAIL FROM:{path}", "MAIL FROM:<a@a.test>", f"RCPT TO: {path}", "RSET")
    ),
    "MAIL",
    "MAIL TO:<a@a.test>",
    "MAIL from : <a@a.test>",
    "QUIT",
]

LONG: Script = [
    "NOOP " + "x" * 507,
    "NOOP " + "x" * 508,
    "EHLO client.test",
    "NOOP " + "x" * 508,
    "MAIL FROM:<a@a.test> " + "X" * 517,
    "MAIL FROM:<a@a.test> " + "X" * 518,
    "MAIL FROM:<" + "a" * 530 + "@a.test>",
    "NOOP " + "x" * 2000,
    "X" * 1200,
    "NOOP",
    "QUIT",
]

DATA: Script = [
    *begun("DATA now", "DATA", MESSAGE + b".", "DATA", "RSET"),
    *begun("DATA", b"."),
    *begun("DATA", b"x" * 999 + b"\r\n."),
    *begun("DATA", b"x" * 1000 + b"\r\n."),
    *begun("DATA", b"a\nb\rc\r\n."),
    *begun("DATA", b"a\n.\nMAIL FROM:<evil@a.test>\r\n."),
    *begun("DATA", b"\xff\xfe\r\n."),
    "MAIL FROM:<a@a.test>",
    "QUIT",
]

TOO_BIG: Script = [
    *begun("DATA", b"x" * 90 + b"\r\n" + b"y" * 90 + b"\r\n."),
    *begun("DATA", b"x" * 90 + b"\r\n."),
    "MAIL FROM:<a@a.test> SIZE=101",
    "QUIT",
]

AUTH: Script = [
    "AUTH PLAIN",
    "EHLO client.test",
    "AUTH",
    "AUTH NOSUCH",
    "AUTH PLAIN a b",
    "AUTH PLAIN not-base64",
    f"AUTH PLAIN {b64('only')}",
    f"AUTH PLAIN {b64(chr(0) + 'ada' + chr(0) + 'wrong')}",
    "AUTH PLAIN",
    "*",
    "AUTH PLAIN",
    "@@",
    "AUTH LOGIN",
    b64("ada"),
    b64("wrong"),
    "AUTH LOGIN",
    "*",
    f"AUTH LOGIN {b64('ada')}",
    b64("enigma"),
    "AUTH PLAIN",
    "MAIL FROM:<a@a.test>",
    "QUIT",
]

TOKEN: Script = ["EHLO client.test", "AUTH X-TOKEN", b64("wrong"), "AUTH X-TOKEN", b64("secret"), "AUTH PLAIN", "QUIT"]

HOOKED: Script = [
    "HELO client.test",
    "EHLO client.test",
    "MAIL FROM:<x@refused.test>",
    "MAIL FROM:<a@a.test> SIZE=10 BODY=8BITMIME",
    "RCPT TO:<b@raise.test>",
    "RCPT TO:<b@b.test>",
    "RCPT TO:<c@b.test>",
    "NOOP x",
    "VRFY b@b.test",
    "DATA",
    MESSAGE + b".",
    "RSET",
    "QUIT",
]

#: By name: the script, what the server is made with, and of which handler.
CONVERSATIONS: dict[str, tuple[Script, dict[str, Any], Callable[[], Any], bool]] = {
    "commands": (COMMANDS, {}, object, False),
    "commands-utf8": (COMMANDS, {"enable_SMTPUTF8": True}, object, False),
    "paths": (PATHS, {}, object, False),
    "paths-utf8": (PATHS, {"enable_SMTPUTF8": True, "decode_data": True}, object, False),
    "long": (LONG, {}, object, False),
    "data": (DATA, {}, object, False),
    "data-decoded": (DATA, {"decode_data": True}, object, False),
    "data-decoded-utf8": (DATA, {"decode_data": True, "enable_SMTPUTF8": True}, object, False),
    "too-big": (TOO_BIG, {"data_size_limit": 100}, object, False),
    "no-limit": (TOO_BIG, {"data_size_limit": None}, object, False),
    "auth": (AUTH, {"auth_require_tls": False, "auth_callback": let_in}, object, False),
    "auth-required": (
        ["EHLO x", "HELP", "VRFY x", "MAIL FROM:<a@a.test>", "RCPT TO:<a@a.test>", "DATA", "NOOP", "RSET", "QUIT"],
        {"auth_required": True},
        object,
        False,
    ),
    "auth-without-tls": (["EHLO x", "AUTH PLAIN", "QUIT"], {}, object, False),
    "token": (TOKEN, {"auth_require_tls": False, "auth_callback": let_in}, Mechanisms, False),
    "excluded": (TOKEN, {"auth_require_tls": False, "auth_exclude_mechanism": ["LOGIN"]}, Mechanisms, False),
    "hooks": (HOOKED, {}, Hooks, False),
    "old-ehlo": (["EHLO x", "MAIL FROM:<a@a.test>", "QUIT"], {}, OldEhlo, False),
    "older": (
        [*begun("DATA", MESSAGE + b"."), "MAIL FROM:<n@n.test>", "RCPT TO:<b@b.test>", "DATA", MESSAGE + b".", "QUIT"],
        {},
        Older,
        False,
    ),
    "calls": (["EHLO x", *["NOOP"] * 4], {"command_call_limit": 3}, object, False),
    "calls-named": (["EHLO x", *["NOOP"] * 6], {"command_call_limit": {"NOOP": 5, "*": 1}}, object, False),
    "failing": ([*begun("DATA", MESSAGE + b"."), "QUIT"], {}, Failing, False),
    "control": (["EHLO x", b"NOOP a\rb", b"NOOP a\0b", b"VRFY a\x1bb", b"NOOP a\tb", "QUIT"], {}, object, False),
    "unknown": (["EHLO x", *["FOO"] * 5], {}, object, False),
    "subclass": (
        ["HELP", "HELP PING", "PING x", "EHLO x", "HELP PING", "PING", "NOOP", "MAIL FROM:<spam@a.test>", "QUIT"],
        {},
        object,
        True,
    ),
}

#: Where we say something else, and what. The page Migrating says why.
DIFFERENCES: dict[tuple[str, str | bytes], str] = {
    ("failing", MESSAGE + b"."): "451 4.3.0 Requested action aborted: local error in processing",
    ("control", b"NOOP a\rb"): "500 Error: bad syntax",
    ("control", b"NOOP a\0b"): "500 Error: bad syntax",
    ("control", b"VRFY a\x1bb"): "500 Error: bad syntax",
}


def converse(package: str, name: str) -> list[tuple[str | bytes, str]]:
    """What was said, and what was answered."""
    script, parameters, handler, subclassed = CONVERSATIONS[name]
    make = subclass(package) if subclassed else import_module(f"{package}.smtp").SMTP
    said: list[tuple[str | bytes, str]] = []
    with serving(lambda: make(handler(), hostname="mx.test", **parameters)) as port:
        talk = Talk(port)
        said.append(("", talk.hear()))
        for line in script:
            said.append((line, talk.say(line)))
            if not said[-1][1]:
                break
        talk.close()
    return said


class Comparison(SynchronousTestCase):
    """Every conversation, with both."""

    skip = LACKING

    def compare(self, name: str) -> None:
        theirs, ours = converse(ORIGINAL, name), converse(OURS, name)
        self.assertEqual(len(theirs), len(ours))
        for (line, expected), (_, got) in zip(theirs, ours, strict=True):
            if (name, line) in DIFFERENCES:
                self.assertEqual(DIFFERENCES[name, line], got, line)
                self.assertNotEqual(expected, got, f"no difference: {line!r}")
            else:
                self.assertEqual(expected, got, line)


def _test(name: str) -> Callable[[Comparison], None]:
    return lambda self: self.compare(name)


for _name in CONVERSATIONS:
    setattr(Comparison, f"test_{_name.replace('-', '_')}", _test(_name))

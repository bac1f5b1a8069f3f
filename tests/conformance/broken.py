"""For each check, a server that it has to find out."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from tests.conformance.server import Defects
from twistsmtp.conformance.topics.smuggling import NO_ENDS, NO_FIRST_ENDS
from twistsmtp.conformance.topics.syntax import NO_LINE_ENDS

__all__ = ["broken_for"]


def says(*pairs: tuple[str, str], **more: str) -> Defects:
    """A server that answers what matches so, and does nothing else."""
    return Defects(says=pairs, **more)  # type: ignore[arg-type]  # the greeting alone


def flags(*names: str) -> Defects:
    return Defects(flags=frozenset(names))


OK = "250 2.0.0 OK"
#: By the ids of the checks, as patterns; the first counts.
BROKEN: dict[str, Defects] = {
    "greeting.code": Defects(greeting="554 No"),
    "greeting.domain": Defects(greeting="220 -- ready --"),
    "hello.ehlo": says(("[EL]HLO", "500 5.5.1 Unknown")),
    "hello.grammar": says(("[EL]HLO", "250-mx.test\r\n250 AUTH=PLAIN")),
    "hello.once": says(("[EL]HLO", "250-mx.test\r\n250-SIZE\r\n250 SIZE 1000")),
    "hello.case": says(("(?-i:[el]hlo)", "500 5.5.1 Unknown")),
    "hello.helo": says(("HELO", "502 5.5.1 Use EHLO")),
    "hello.helo-plain": says(("HELO", "250-mx.test\r\n250 PIPELINING")),
    "hello.literal*": says((r"EHLO \[(192|IPv6)", "501 What?")),
    "hello.argument": says(("EHLO$", OK)),
    "hello.unverified": says((r"EHLO nowhere", "550 Who?")),
    "hello.again": says(("EHLO .*again|DATA", "354 Go on")),
    "hello.bad-again": says(("EHLO$", "501 Name"), ("DATA", "503 5.5.1 Not now")),
    "hello.offered": says(("HELP", "502 5.5.1 No")),
    "hello.all-offered": flags("no-HELP"),
    "syntax.case": says(("(?-i:rcpt)", "500 5.5.1 Unknown")),
    "syntax.trailing-space": says((".* $", "501 5.5.4 Blank")),
    "syntax.unknown": says(("FOOBAR", "502 5.5.1 Unknown")),
    "syntax.unknown-x": says(("XFOOBAR", "250 2.0.0 What?")),
    "syntax.unknown-nothing": says(("FOOBAR", OK)),
    "syntax.prefix": says(("NOOP", OK)),
    "syntax.empty": says(("$", OK)),
    "syntax.line-512": Defects(cut=500),
    "syntax.line-1048576": Defects(cut=512 * 1024),
    "syntax.line-*": Defects(cut=510),
    **{f"syntax.no-end-{name}": Defects(line_ends=(octets,)) for name, octets in NO_LINE_ENDS.items()},
    "syntax.transaction-lf": Defects(line_ends=(b"\n",)),
    "syntax.transaction-cr": Defects(line_ends=(b"\r",)),
    "syntax.*-in-path": says(("MAIL", OK)),
    "syntax.eight-bit-verb": says(("[^ -~]", OK)),
    "syntax.pieces": says(("RCPT", f"{OK}\r\n{OK}")),
    "syntax.reflected": says(("VRFY a\r", f"{OK} a\r250 b")),
    "order.hello-first": says(("MAIL", OK)),
    "order.before-hello": says(("VRFY", "503 5.5.1 EHLO first")),
    "order.rcpt-first": says(("RCPT", OK)),
    "order.data-*": says(("DATA", "354 Go on"), (r"\.", OK)),
    "order.nested-mail": says(("MAIL", OK)),
    "order.after-message": flags("keeps-transaction"),
    "order.two-messages": flags("keeps-transaction"),
    "order.bad-mail": says(("MAIL FROM:$", "501 5.1.7 Syntax"), ("RCPT", OK)),
    "order.bad-rcpt": says(("RCPT TO:$", "501 5.1.3 Syntax"), ("DATA", "503 5.5.1 Not now")),
    "session.noop-argument": says(("NOOP .", "501 5.5.4 No argument")),
    "session.noop": says(("NOOP", "500 5.5.1 Unknown")),
    "session.rset-open": says(("RSET", "221 2.0.0 Bye")),
    "session.rset-hello": says(("RSET", "503 5.5.1 EHLO first")),
    "session.rset": says(("RSET", OK)),
    "session.vrfy": says(("VRFY .", "500 5.5.1 Unknown")),
    "session.vrfy-argument": says(("VRFY$", "252 2.0.0 Perhaps")),
    "session.help": says(("HELP", "502 5.5.1 No")),
    "session.quit-last": flags("stays"),
    "session.quit*": says(("QUIT", OK)),
    "session.argument": says(("RSET now", OK)),
    "paths.malformed-*": says(("MAIL|RCPT", OK)),
    "paths.eight-bit": says(("MAIL", OK)),
    "paths.not-utf8": says(("MAIL", OK)),
    "paths.hundred": says(("RCPT", "452 4.5.3 Too many")),
    "paths.postmaster": says(("RCPT TO:<postmaster", "550 5.1.1 Who?")),
    "paths.*-parameter-555": says((".* XFOOBAR=", "501 5.5.4 Parameter")),
    "paths.*-parameter": says((".* X?FOOBAR=|.* =", OK)),
    "paths.null-rcpt": says(("MAIL FROM:<>", "550 5.7.1 No bounces")),
    "paths.rcpt-quoted": says(('RCPT TO:<"', "550 5.1.1 Who?")),
    "paths.domain-case": says(("RCPT TO:<bob@(?-i:MX)", "550 5.1.1 Who?")),
    "paths.rcpt-route": says(("RCPT TO:<@", "501 5.1.3 Syntax")),
    "paths.*": says(("MAIL", "501 5.1.7 Syntax")),
    "data.start": says(("DATA", OK)),
    "data.commands-lf": Defects(ends=(b"QUIT\n",)),
    "data.commands-cr": Defects(ends=(b"QUIT\r",)),
    "data.commands": Defects(ends=(b"QUIT\r\n",)),
    "data.long-line*": Defects(drops=998),
    "data.64k": Defects(ends=(b"x" * 30,)),
    "data.nul": Defects(ends=(b"\0\r\n",)),
    "data.halves": Defects(ends=(b"\r\n..\r\n",)),
    "data.octets": Defects(ends=(b"\r\n..\r\n",)),
    "data.dots": Defects(ends=(b"\r\n...\r\n",)),
    "data.no-header": Defects(ends=(b"\r\ntext\r\n.",)),
    "data.accepted": Defects(ends=(b"\r\ntext\r\n",)),
    "data.empty": flags("needs-line"),
    "smuggling.early-body": says(("DATA", "503 5.5.1 Not now"), ("text", OK)),
    **{f"smuggling.{name}": Defects(ends=(octets,)) for name, octets in NO_ENDS.items()},
    **{f"smuggling.{name}.pieces": Defects(ends=(octets,)) for name, octets in NO_ENDS.items()},
    **{f"smuggling.first.{name}": Defects(ends=(b"\r\n" + octets, octets)) for name, octets in NO_FIRST_ENDS.items()},
    "lines.stuffed-*": flags("stuffed", "limit-ends"),
    "replies.form": says(("VRFY", "252-Perhaps\r\n250 not")),
    "replies.text": says(("NOOP", "250 ")),
    "replies.one": says(("VRFY", "252 2.0.0 Perhaps\r\n252 2.0.0 not")),
    "replies.challenge": Defects(ends=(b"conformance\r\n",)),
    "enhanced.all": says(("VRFY", "252-2.0.0 Perhaps\r\n252 not")),
    "enhanced.class": says(("FOOBAR", "500 4.5.1 Unknown")),
    "enhanced.hello": says(("EHLO$", "501 5.5.4 Name")),
    "pipelining.data-refused": says(("DATA", f"503 5.5.1 Not now\r\n{OK}")),
    "pipelining.many": says(("NOOP", f"{OK}\r\n{OK}")),
    "pipelining.quit": says(("MAIL", f"{OK}\r\n{OK}")),
    "pipelining.bad-command": says(("FOOBAR", "421 4.7.0 Bye")),
    "pipelining.behind-message": flags("flushes"),
    "pipelining.*": says(("DATA", "503 5.5.1 Not now")),
    "size.parameter": says(("EHLO", "250-mx.test\r\n250 SIZE 1M")),
    "size.declared": says(("MAIL.*(?-i:size)=", "555 5.5.4 Parameter")),
    "size.too-big": says(("MAIL", OK)),
    "size.twenty-digits": says(("MAIL", "501 5.5.4 Parameter")),
    "size.malformed-*": says(("MAIL", OK)),
    "size.actual": says(("MAIL.*SIZE=", "552 5.3.4 Too big")),
    "size.no-end": flags("size-ends"),
    "size.exceeded": flags("endless"),
    "size.exceeded-end": flags("limit-ends"),
    "8bitmime.message": says(("MAIL", OK), ("RCPT", OK), ("DATA", "554 5.6.1 No")),
    "8bitmime.not-offered": Defects(says=(("MAIL", OK),), flags=frozenset({"no-8BITMIME"})),
    "8bitmime.unknown": says(("MAIL", OK)),
    "8bitmime.body": says(("MAIL.*(?-i:body)", "555 5.5.4 Parameter")),
    "smtputf8.8bitmime": flags("no-8BITMIME"),
    "smtputf8.value": says(("MAIL", OK)),
    "smtputf8.not-utf8": says(("MAIL", OK)),
    "smtputf8.ascii-replies": says(("VRFY", "252 2.0.0 Usér")),
    "smtputf8.*": says(("MAIL", "501 5.1.7 Syntax")),
    "dsn.bad-ret": says(("MAIL", OK)),
    "dsn.bad-envid": says(("MAIL", OK)),
    "dsn.two-*": says(("MAIL", OK), ("RCPT", OK)),
    "dsn.bad-*": says(("RCPT", OK)),
    "dsn.unknown-*": says(("RCPT", OK)),
    "dsn.*": says((".* [a-z]+=", "555 5.5.4 Parameter")),
    "chunking.case": says(("(?-i:bdat)", "500 5.5.1 Unknown")),
    "chunking.chunks": says(("BDAT 0 LAST", "503 5.5.1 Not now")),
    "chunking.data-still": says(("DATA", "502 5.5.1 No")),
    "chunking.data-between": flags("bdat-mixes"),
    "chunking.behind-last": flags("keeps-transaction"),
    "chunking.rset": says(("RSET", OK)),
    "chunking.syntax": says(("BDAT", OK)),
    "chunking.*": says(("BDAT", "502 5.5.1 No")),
    "binarymime.data": says(("DATA", "354 Go on")),
    "binarymime.chunking": flags("no-CHUNKING"),
    "binarymime.body": says(("MAIL.*BINARY", "501 5.5.4 Parameter")),
    "chunks.dot": flags("bdat-dots"),
    "chunks.newlines": Defects(ends=(b"\n.\n",), flags=frozenset({"bdat-dots"})),
    "chunks.long-line": flags("bdat-lines"),
    "chunks.huge-32": flags("bdat-32"),
    "chunks.huge-64": flags("bdat-64"),
    "chunks.negative": says(("BDAT", OK)),
    "chunks.*": flags("bdat-forgets"),
    "starttls.begins": says(("STARTTLS", "502 5.5.1 No")),
    "starttls.once": flags("starttls-offered"),
    "starttls.not-offered": flags("starttls-offered"),
    "starttls.twice": flags("starttls-again"),
    "starttls.argument": says(("STARTTLS now", "220 2.0.0 Go on")),
    "starttls.injected-apart": flags("starttls-waits"),
    "starttls.injected*": flags("starttls-keeps"),
    "starttls.plain-behind": flags("starttls-plain"),
    "starttls.forgets-*": flags("starttls-remembers"),
    "tls.old": flags("old-tls"),
    "tls.greeting": Defects(greeting="421 Not now"),
    "auth.clear": says(("EHLO", "250-mx.test\r\n250-STARTTLS\r\n250 AUTH LOGIN PLAIN")),
    "auth.unknown": says(("AUTH", "501 5.5.4 What?")),
    "auth.argument": says(("AUTH$", "334 ")),
    "auth.case": says(("(?-i:auth)", "500 5.5.1 Unknown")),
    "auth.cancel": says(("AUTH", "334 "), (r"\*", "500 5.5.1 Unknown")),
    "auth.base64-*": says(("AUTH", "334 "), ("[!=A][!=AB]{3,}$", "535 5.7.8 Wrong")),
    "auth.initial": says(("AUTH", "535 5.7.8 Wrong")),
    "auth.continued": flags("auth-carries-out"),
    "auth.continued-together": flags("auth-carries-out"),
    "auth.continued-lf": Defects(line_ends=(b"\n",)),
    "auth.long": says(("AUTH", "334 "), ("QUFB", "500 5.5.6 Too long")),
    "auth.long-*": Defects(cut=12000),
    "auth.transaction": says(("AUTH", "334 ")),
    "auth.wrong": flags("auth-tells"),
    "auth.nuls": says(("AUTH", "235 2.7.0 OK")),
    "login.accepted": says(("NOOP", "530 5.7.0 Authenticate")),
    "login.twice": says(("AUTH PLAIN$", "334 ")),
    "login.rset": says(("AUTH PLAIN$", "334 ")),
    "login.bad-parameter": says(("MAIL", OK)),
    "login.*": says((".*AUTH=", "555 5.5.4 Parameter")),
    "lmtp.helo": says(("EHLO", "250 mx.test")),
    "lmtp.replies": flags("one-reply"),
    "lmtp.chunk-replies": flags("one-reply"),
    "lmtp.data-first": says(("DATA", "554 5.5.1 Nobody")),
    "lmtp.offered": flags("no-PIPELINING"),
    "lmtp.8bitmime": flags("no-8BITMIME"),
}


def _lines(id: str) -> Iterator[Defects]:
    kind, _, size = id.removeprefix("lines.").partition("-")
    if kind == "dot":
        yield Defects(cut=int(size))
    elif kind == "long":
        yield Defects(drops=int(size))


def broken_for(id: str) -> Defects:
    """The defects that the check *id* has to find.

    :raises LookupError: nobody has thought of any.
    """
    for defects in _lines(id):
        return defects
    for pattern, defects in BROKEN.items():
        if fnmatchcase(id, pattern):
            return defects
    raise LookupError(f"no defect for {id}")

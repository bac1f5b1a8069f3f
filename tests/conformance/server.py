"""A server to be judged: as small as one can be that passes all checks, and with as many defects as one asks for.

It runs in threads and blocks. The text of the messages goes nowhere.
"""

import base64
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["PASSWORD", "USER", "Defects", "Server"]

USER, PASSWORD = "ann", "Correct horse 7!"
LIMIT = 1024 * 1024
#: Local-part and domain, as far as they are looked at here.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_SNUM = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_LOCAL = rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[^"\\\x00-\x1f]|\\[ -~])*")'
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:{_SNUM}(?:\.{_SNUM}){{3}}|IPv6:[0-9A-Fa-f:.]+)\])"
_PATH = re.compile(rf"(?P<route>@{_DOMAIN}(?:,@{_DOMAIN})*:)?(?P<local>{_LOCAL})@(?P<domain>{_DOMAIN})")
_ATOM_8, _LABEL_8 = _ATOM.replace("A-Z", "\x80-\U0010ffffA-Z"), _LABEL.replace("A-Z", "\x80-\U0010ffffA-Z")
_PATH_8 = re.compile(_PATH.pattern.replace(_ATOM, _ATOM_8).replace(_LABEL, _LABEL_8))
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*"
#: What each parameter may be, and after which command.
_PARAMETERS = {
    ("MAIL", "SIZE"): r"[0-9]{1,20}",
    ("MAIL", "BODY"): r"7BIT|8BITMIME|BINARYMIME",
    ("MAIL", "SMTPUTF8"): "",
    ("MAIL", "AUTH"): rf"<>|{_XTEXT}",
    ("MAIL", "RET"): r"FULL|HDRS",
    ("MAIL", "ENVID"): rf"(?=.){_XTEXT}",
    ("RCPT", "NOTIFY"): r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*",
    ("RCPT", "ORCPT"): rf"[A-Za-z0-9-]+;{_XTEXT}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Defects:
    """What is wrong with a server.

    :param says: what is said to a line that an expression matches, in place of anything else being done.
    :param greeting: what is said first.
    :param ends: what ends a message, besides CRLF.CRLF.
    :param line_ends: what ends a command line, besides CRLF.
    :param cut: octets after which a line is cut, and the rest of it taken for another.
    :param drops: octets of a text line, behind which what follows is taken for commands.
    :param flags: others, by name.
    """

    says: tuple[tuple[str, str], ...] = ()
    greeting: str = "220 mx.test ESMTP"
    ends: tuple[bytes, ...] = ()
    line_ends: tuple[bytes, ...] = ()
    cut: int = 0
    drops: int = 0
    flags: frozenset[str] = frozenset()


@dataclass(slots=True)
class State:
    """What is known of a client."""

    greeted: bool = False
    user: bool = False
    mail: bool = False
    recipients: int = 0
    chunks: bool = False
    size: int | None = None
    binary: bool = False
    utf8: bool = False

    def reset(self) -> None:
        """No transaction any more."""
        self.mail = self.chunks = self.binary = self.utf8 = False
        self.recipients, self.size = 0, None


class Gone(Exception):
    """The client is."""


class Talk(socketserver.BaseRequestHandler):
    """One connection."""

    server: "Server"
    request: socket.socket

    def handle(self) -> None:
        self.defects = self.server.defects
        self.buffer = b""
        self.encrypted = False
        self.state = State()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(20)
        try:
            if self.server.implicit:
                self.encrypt()
            self.say(self.defects.greeting)
            while self.command(self.line()):
                pass
        except (Gone, OSError):
            pass
        finally:
            self.request.close()

    # --- octets ----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self.request.sendall(text.encode("utf-8", "surrogateescape") + (b"" if text.endswith("\n") else b"\r\n"))

    def more(self) -> None:
        octets = self.request.recv(65536)
        if not octets:
            raise Gone
        self.buffer += octets

    def encrypt(self) -> None:
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.encrypted = True

    def until(self, ends: Iterable[bytes], front: bytes = b"") -> bytes:
        """What comes before the first of *ends*; *front* is taken as if it had come before."""
        ends = tuple(ends)
        looked = 0
        while True:
            text = front + self.buffer
            found = [(text.find(end, looked), end) for end in ends]
            places = [(place, -len(end), end) for place, end in found if place >= 0]
            if places:
                place, _, end = min(places)
                self.buffer = text[place + len(end) :]
                return text[:place][len(front) :]
            looked = max(0, len(text) - 8)
            self.more()

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        octets, self.buffer = self.buffer[:size], self.buffer[size:]
        return octets

    def line(self) -> bytes:
        line = self.until((b"\r\n", *self.defects.line_ends))
        cut = self.defects.cut
        if cut and len(line) > cut:
            self.buffer = line[cut:] + b"\r\n" + self.buffer
            line = line[:cut]
        return line

    # --- commands --------------------------------------------------------------------------------------------

    def command(self, line: bytes) -> bool:
        """Carry out one; whether there may be another."""
        text = line.decode("utf-8", "surrogateescape")
        for pattern, reply in self.defects.says:
            if re.match(pattern, text, re.IGNORECASE):
                self.say(reply)
                return not reply.startswith(("221", "421"))
        verb, _, argument = text.rstrip(" ").partition(" ")
        if len(line) > 4096 or not text.isprintable():
            self.say("500 5.5.2 No")
            return True
        does = getattr(self, f"do_{verb.lower()}", None) if verb.isascii() else None
        if does is None or (verb.upper() in ("HELO", "EHLO") and self.server.lmtp):
            self.say("500 5.5.1 Unknown")
            return True
        return does(argument) is not False

    def do_ehlo(self, name: str) -> None:
        if not name:
            self.say("501 Name")
            return
        self.state.reset()
        self.state.greeted = True
        keywords = [
            "PIPELINING",
            f"SIZE {LIMIT}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "DSN",
            "CHUNKING",
            "BINARYMIME",
            "HELP",
            "AUTH PLAIN" if self.encrypted else "STARTTLS",
        ]
        keywords += ["STARTTLS"] if "starttls-offered" in self.defects.flags else []
        keywords = [each for each in keywords if f"no-{each}" not in self.defects.flags]
        self.say("\r\n".join([f"250-{line}" for line in ["mx.test", *keywords[:-1]]] + [f"250 {keywords[-1]}"]))

    do_lhlo = do_ehlo

    def do_helo(self, name: str) -> None:
        self.state.reset()
        self.state.greeted = True
        self.say("250 mx.test")

    def do_noop(self, argument: str) -> None:
        self.say("250 2.0.0 OK")

    def do_help(self, argument: str) -> None:
        self.say("214 2.0.0 Help yourself")

    def do_vrfy(self, argument: str) -> None:
        self.say("252 2.0.0 Perhaps" if argument else "501 5.5.4 Who?")

    def do_rset(self, argument: str) -> None:
        if argument:
            self.say("501 5.5.4 No argument")
            return
        self.state.reset()
        self.say("250 2.0.0 OK")

    def do_quit(self, argument: str) -> bool:
        if argument:
            self.say("501 5.5.4 No argument")
            return True
        self.say("221 2.0.0 Bye")
        return "stays" in self.defects.flags

    def do_mail(self, argument: str) -> None:
        if not self.state.greeted or self.state.mail:
            self.say("503 5.5.1 Not now")
            return
        parameters = self.path(argument, "MAIL", "FROM:")
        if parameters is not None:
            self.state.mail = True
            self.state.size = int(parameters["SIZE"]) if "SIZE" in parameters else None
            self.state.binary = parameters.get("BODY", "").upper() == "BINARYMIME"
            self.say("250 2.1.0 OK")

    def do_rcpt(self, argument: str) -> None:
        if not self.state.mail:
            self.say("503 5.5.1 Not now")
        elif self.path(argument, "RCPT", "TO:") is not None:
            self.state.recipients += 1
            self.say("250 2.1.5 OK")

    def path(self, argument: str, verb: str, keyword: str) -> dict[str, str] | None:
        """The parameters of a MAIL or RCPT that is well-formed."""
        match = re.fullmatch(r'<((?:"(?:[^"\\]|\\.)*"|[^">])*)>((?: \S*)*)', argument[len(keyword) :])
        if argument[: len(keyword)].upper() != keyword or match is None:
            self.say("501 5.5.4 Syntax")
            return None
        words = match[2].split(" ")[1:]
        utf8 = "SMTPUTF8" in match[2].upper()
        path, known = match[1], {}
        good = (_PATH_8 if utf8 else _PATH).fullmatch(path) and path.isprintable()
        if not (good or (verb == "MAIL" and not path) or (verb == "RCPT" and path.lower() == "postmaster")):
            self.say("501 5.1.3 Syntax")
            return None
        for word in words:
            name, equals, value = word.partition("=")
            name = name.upper()
            pattern = _PARAMETERS.get((verb, name))
            if name and name.isalnum() and pattern is None:
                self.say("555 5.5.4 Parameter")
                return None
            if not name or name in known or bool(equals) != bool(pattern) or not self.is_good(name, pattern, value):
                self.say("501 5.5.4 Parameter")
                return None
            known[name] = value
        if int(known.get("SIZE", 0)) > LIMIT:
            self.say("552 5.3.4 Too big")
            return None
        return known

    def is_good(self, name: str, pattern: str | None, value: str) -> bool:
        ignore = 0 if name in ("ENVID", "ORCPT", "AUTH") else re.IGNORECASE
        return re.fullmatch(pattern or "", value, ignore) is not None

    # --- messages --------------------------------------------------------------------------------------------

    def do_data(self, argument: str) -> None:
        if argument:
            self.say("501 5.5.4 No argument")
            return
        if self.state.chunks or not self.state.recipients or self.state.binary:
            self.say("503 5.5.1 Not now")
            return
        self.say("354 Go on")
        flags = self.defects.flags
        if "size-ends" in flags and self.state.size is not None:
            self.exactly(self.state.size)
            text = b""
        elif self.defects.cut or self.defects.drops or "limit-ends" in flags:
            text = self.lines()
        else:
            text = self.until((b"\r\n.\r\n", *self.defects.ends), front=b"" if "needs-line" in flags else b"\r\n")
        reply = "552 5.3.4 Too big" if len(text) > LIMIT and "endless" not in flags else "250 2.0.0 OK"
        self.ended(reply)

    def lines(self) -> bytes:
        """The text, as one reads it who reads lines, of no more than so many octets."""
        text: list[bytes] = []
        size = 0
        while True:
            line = self.until((b"\r\n",))
            cut = self.defects.cut
            if cut and len(line) > cut:
                self.buffer = line[cut:] + b"\r\n" + self.buffer
                line = line[:cut]
            if line == b"." or (line.startswith(b".") and "stuffed" in self.defects.flags and size > 1000):
                return b"".join(text)
            text += [line, b"\r\n"]
            size += len(line) + 2
            if (self.defects.drops and len(line) >= self.defects.drops) or (
                "limit-ends" in self.defects.flags and size > LIMIT
            ):
                return b"".join(text)

    def ended(self, reply: str) -> None:
        """The message is whole."""
        count = self.state.recipients if self.server.lmtp and "one-reply" not in self.defects.flags else 1
        if "keeps-transaction" not in self.defects.flags:
            self.state.reset()
        if "flushes" in self.defects.flags:
            self.buffer = b""
        for _ in range(count):
            self.say(reply)

    def do_bdat(self, argument: str) -> None:
        match = re.fullmatch(r"([0-9]{1,20})( LAST)?", argument, re.IGNORECASE)
        if match is None:
            self.say("501 5.5.4 Syntax")
            return
        size, flags = int(match[1]), self.defects.flags
        for bits in (32, 64):
            size %= 2**bits if f"bdat-{bits}" in flags else 10**20
        refused = not self.state.recipients
        if refused and "bdat-forgets" in flags:
            self.say("503 5.5.1 Not now")
            return
        if size > 2 * LIMIT:
            raise Gone
        if "bdat-dots" in flags:
            self.until((b"\r\n.\r\n", *self.defects.ends))
        elif "bdat-lines" in flags:
            self.exactly(min(size, 65536))
        else:
            self.exactly(size)
        if refused:
            self.say("503 5.5.1 Not now")
        elif match[2]:
            self.ended("250 2.0.0 OK")
        else:
            self.state.chunks = "bdat-mixes" not in flags
            self.say("250 2.0.0 OK")

    # --- TLS and AUTH ----------------------------------------------------------------------------------------

    def do_starttls(self, argument: str) -> None:
        flags = self.defects.flags
        if argument or (self.encrypted and "starttls-again" not in flags):
            self.say("501 5.5.4 No argument" if argument else "503 5.5.1 Already")
            return
        self.say("220 2.0.0 Go on")
        if "starttls-plain" in flags:
            return
        if "starttls-waits" in flags:  # so that what comes in another segment is there, too
            self.request.settimeout(0.2)
            kept = b""
            while b"\n" not in self.buffer and b"\x16" not in self.request.recv(1, socket.MSG_PEEK):
                self.more()
            kept = self.buffer
            self.request.settimeout(20)
        kept, self.buffer = self.buffer, b""
        self.encrypt()
        if "starttls-keeps" in flags or "starttls-waits" in flags:
            self.buffer = kept
        if "starttls-remembers" not in flags:
            self.state = State()

    def do_auth(self, argument: str) -> None:
        if self.state.mail or self.state.user:
            self.say("503 5.5.1 Not now")
            return
        mechanism, _, response = argument.partition(" ")
        if mechanism.upper() != "PLAIN":
            self.say("504 5.5.4 Unknown" if mechanism else "501 5.5.4 Which?")
            return
        if not response:
            self.say("334 ")
            line = self.line()
            if "auth-carries-out" in self.defects.flags and line[:4] in (b"MAIL", b"NOOP"):
                self.say("501 5.5.2 No")
                self.command(line)
                return
            response = line.decode("latin-1")
        self.authenticate(response)

    def authenticate(self, response: str) -> None:
        """Judge the *response*."""
        try:
            words = base64.b64decode(response, validate=True).split(b"\0")
        except ValueError:
            self.say("501 5.5.2 No base64")
            return
        if len(words) != 3:
            self.say("501 5.5.2 Not PLAIN")
        elif words[1:] == [USER.encode(), PASSWORD.encode()]:
            self.state.user = True
            self.say("235 2.7.0 OK")
        else:
            self.say("535 5.7.8 " + (words[2].decode() if "auth-tells" in self.defects.flags else "Wrong"))


class Server(socketserver.ThreadingTCPServer):
    """Listens on a port of this machine, from the start of a ``with`` to its end.

    :param context: of a server, to encrypt with.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, context: ssl.SSLContext, defects: Defects, *, lmtp: bool = False, implicit: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.context = context
        self.defects = defects
        self.lmtp = lmtp
        self.implicit = implicit

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()

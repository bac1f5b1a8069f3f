"""A conversation with the server, as checks hold it."""

import base64
import enum
import hashlib
import hmac

from .link import Link, Lost
from .replies import Reply, escape
from .target import Security, Target

__all__ = ["END", "Failed", "Skipped", "Start", "Talk", "expect"]

#: RFC 5321 section 4.1.1.4.
END = b"\r\n.\r\n"
#: Replies that are read at the most where none should be.
MOST_REPLIES = 400
#: Seconds in which more of them come.
WAIT = 1.0


class Start(enum.IntEnum):
    """How far a connection has come."""

    #: Nothing is read yet.
    CONNECTED = 0
    #: The greeting is read; where the target is to have it, TLS has begun by STARTTLS.
    GREETED = 1
    #: EHLO (LHLO) is said; where the server wants that, somebody has authenticated.
    HELLO = 2
    #: MAIL is accepted.
    MAIL = 3
    #: RCPT is accepted.
    RCPT = 4
    #: 354 has come.
    DATA = 5


class Failed(Exception):
    """The server does not do what the check states."""


class Skipped(Exception):
    """The server cannot be judged by the check.

    :param wanted: whether more could be judged if the program were told more.
    """

    def __init__(self, reason: str, *, wanted: bool = False) -> None:
        super().__init__(reason)
        self.wanted = wanted


def expect(reply: Reply, *codes: str, what: str = "it") -> Reply:
    """Fail unless the code of *reply* is, or begins with, one of *codes*."""
    if not reply.is_one_of(*codes):
        wanted = " or ".join(code.ljust(3, "x") for code in codes)
        raise Failed(f"{what} was answered by {reply}, not by {wanted}")
    return reply


class Talk:
    """A conversation.

    :param link: nothing has been said on it.
    """

    def __init__(self, target: Target, link: Link) -> None:
        self.target = target
        self.link = link
        #: What EHLO offers: the parameters by the keyword.
        self.keywords: dict[str, str] = {}
        self.name = target.name or _literal(link.address)

    # --- commands --------------------------------------------------------------------------------------------

    def say(self, command: str | bytes, *, shown: str | None = None) -> Reply:
        """Send a command line, and read its reply.

        :param shown: what goes on record in place of the line.
        :raises Lost: there is none.
        """
        octets = command if isinstance(command, bytes) else command.encode()
        self.link.send(octets + b"\r\n", shown=None if shown is None else shown.encode())
        try:
            return self.link.read()
        except Lost as problem:
            raise type(problem)(f"{problem}, after {shown or escape(octets, 80)}") from None

    def ask(self, command: str | bytes, *codes: str) -> Reply:
        """Send a command line, and fail unless its reply is one of *codes*."""
        reply = self.say(command)
        octets = command if isinstance(command, bytes) else command.encode()
        return expect(reply, *codes, what=escape(octets, 80))

    def send_lines(self, *lines: str) -> None:
        """Send command lines in one piece."""
        self.link.send("".join(f"{line}\r\n" for line in lines).encode())

    def read(self, count: int) -> list[Reply]:
        """The next *count* replies.

        :raises Lost: there are fewer.
        """
        return [self.link.read() for _ in range(count)]

    def unasked(self) -> list[Reply]:
        """What the server says before it answers QUIT, or closes. A parting word, as 421, does not count."""
        self.link.send(b"QUIT\r\n")
        replies: list[Reply] = []
        while len(replies) < MOST_REPLIES:
            try:
                reply = self.link.read(within=WAIT if replies else None)
            except Lost as problem:
                if replies and not self.link.closed:
                    break
                if not self.link.closed:
                    raise type(problem)(f"{problem}, after QUIT") from None
                return replies[:-1] if replies and replies[-1].is_one_of("4", "5") else replies
            if reply.code in (221, 421):
                break
            replies.append(reply)
        return replies

    def alone(self, what: str) -> Reply | None:
        """The one reply to what has been sent; ``None`` where the server closed instead.

        :raises Failed: there are more.
        """
        try:
            first = self.link.read()
        except Lost:
            if not self.link.closed:
                raise
            return None
        more = [] if first.code == 421 else self.unasked()
        if more:
            raise Failed(f"{what}: besides {first} there came {', '.join(map(str, more[:4]))}")
        return first

    def silence(self, what: str) -> None:
        """Fail if the server says anything but the answer to QUIT."""
        more = self.unasked()
        if more:
            raise Failed(f"{what}: there came {', '.join(map(str, more[:4]))}")

    # --- the way to a stage ----------------------------------------------------------------------------------

    def reach(self, start: Start, *, clear: bool = False, user: bool = False) -> None:
        """Come as far as *start*.

        :param clear: without TLS and AUTH, whatever the target says.
        :param user: authenticate.
        :raises Skipped: the server does not go along.
        """
        try:
            if start >= Start.GREETED:
                self._wanted(self.link.read(), "220", "the greeting")
                if self.target.security is Security.STARTTLS and not clear:
                    self._start_tls()
            if start >= Start.HELLO:
                self.greet()
                if user or (self.target.always and not clear):
                    self.log_in()
            if start >= Start.MAIL:
                self._wanted(self.say(self.mail), "250", self.mail)
            if start >= Start.RCPT:
                self._wanted(self.say(self.rcpt), "25", self.rcpt, "--to")
            if start >= Start.DATA:
                self._wanted(self.say("DATA"), "354", "DATA")
        except Failed as problem:
            raise Skipped(str(problem), wanted=True) from None
        except Lost as problem:
            raise Skipped(f"on the way there: {problem}", wanted=True) from problem

    def _wanted(self, reply: Reply, code: str, what: str, option: str = "") -> Reply:
        if not reply.is_one_of(code):
            hint = {"530": "--starttls or --user", "550": option}.get(str(reply.code), option)
            raise Skipped(f"{what} was answered by {reply}" + (f" ({hint}?)" if hint else ""), wanted=True)
        return reply

    @property
    def mail(self) -> str:
        """The plainest MAIL."""
        return f"MAIL FROM:<{self.target.sender}>"

    @property
    def rcpt(self) -> str:
        """The plainest RCPT."""
        return f"RCPT TO:<{self.target.recipient}>"

    def greet(self, name: str | None = None) -> Reply:
        """EHLO, or LHLO, whose keywords are noted.

        :param name: of the client, if it is not to be its own.
        :raises Failed: the server does not take it.
        """
        reply = self.ask(f"{self.target.hello} {name or self.name}", "250")
        self.keywords = {}
        for line in reply.lines[1:]:
            keyword, _, parameters = line.strip().partition(" ")
            self.keywords[keyword.upper()] = parameters.strip()
        return reply

    def _start_tls(self) -> None:
        self.greet()
        self._wanted(self.say("STARTTLS"), "220", "STARTTLS")
        self.link.encrypt()

    def begin(self) -> None:
        """MAIL and RCPT.

        :raises Failed: one of them is refused.
        """
        self.ask(self.mail, "250")
        self.ask(self.rcpt, "25")

    def message(self, body: bytes) -> Reply:
        """The reply to a message, after MAIL and RCPT.

        :param body: as it is on the wire, but for what ends it.
        :raises Failed: DATA is refused.
        """
        self.ask("DATA", "354")
        self.link.send(body + END)
        return self.link.read()

    # --- authentication --------------------------------------------------------------------------------------

    @property
    def mechanisms(self) -> list[str]:
        """Those that AUTH offers."""
        return self.keywords.get("AUTH", "").upper().split()

    def log_in(self) -> Reply:
        """Authenticate as the target's user.

        :raises Skipped: it cannot be done.
        """
        if not (self.link.encrypted or self.link.is_local):
            raise Skipped("a password is not sent without TLS (--starttls or --tls?)", wanted=True)
        user, password = (self.target.user or "").encode(), self.target.password.encode()
        if "PLAIN" in self.mechanisms:
            word = base64.b64encode(b"\0" + user + b"\0" + password).decode()
            reply = self.say(f"AUTH PLAIN {word}", shown="AUTH PLAIN ...")
        elif "LOGIN" in self.mechanisms:
            reply = self.say("AUTH LOGIN")
            for each in (user, password):
                self._wanted(reply, "334", "AUTH LOGIN", "--user")
                reply = self.say(base64.b64encode(each), shown="...")
        elif "CRAM-MD5" in self.mechanisms:
            reply = self._wanted(self.say("AUTH CRAM-MD5"), "334", "AUTH CRAM-MD5", "--user")
            digest = hmac.new(password, base64.b64decode(reply.lines[0]), hashlib.md5).hexdigest()
            reply = self.say(base64.b64encode(user + b" " + digest.encode()), shown="...")
        else:
            raise Skipped("none of PLAIN, LOGIN and CRAM-MD5 is offered by AUTH", wanted=True)
        return self._wanted(reply, "235", "AUTH", "--user and --password-file")


def _literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

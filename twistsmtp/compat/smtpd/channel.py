"""The commands, as methods of a connection's channel."""

import warnings
from typing import Any

from twistsmtp.compat.aiosmtpd.lines import behind_keyword, read_address, read_parameters
from twistsmtp.compat.smtpd.connection import Channel
from twistsmtp.compat.smtpd.values import debug

__all__ = ["SMTPChannel"]

PARAMETERS = " [SP <mail-parameters>]"
COMMANDS = "Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY"
#: What HELP says. To the last parameters may be added.
SYNTAX = {
    "EHLO": "EHLO hostname",
    "HELO": "HELO hostname",
    "MAIL": "MAIL FROM: <address>",
    "RCPT": "RCPT TO: <address>",
    "DATA": "DATA",
    "RSET": "RSET",
    "NOOP": "NOOP",
    "QUIT": "QUIT",
    "VRFY": "VRFY <address>",
}


def _renamed(old: str, new: str) -> Any:
    """The attribute *new*, by a name that it had long ago."""

    def warn(verb: str) -> None:
        text = f"{verb} {old} attribute on SMTPChannel is deprecated, use '{new}' instead"
        warnings.warn(text, DeprecationWarning, stacklevel=3)

    def read(self: "SMTPChannel") -> Any:
        warn("Access to")
        return getattr(self, new)

    def write(self: "SMTPChannel", value: Any) -> None:
        warn("Setting")
        setattr(self, new, value)

    return property(read, write)


class SMTPChannel(Channel):
    """A connection of a server. A method ``smtp_X`` of a subclass is the command X; see `Channel` for all else."""

    # --- the names of long ago -------------------------------------------------------------------------------

    __server = _renamed("__server", "smtp_server")
    __line = _renamed("__line", "received_lines")
    __state = _renamed("__state", "smtp_state")
    __greeting = _renamed("__greeting", "seen_greeting")
    __mailfrom = _renamed("__mailfrom", "mailfrom")
    __rcpttos = _renamed("__rcpttos", "rcpttos")
    __data = _renamed("__data", "received_data")
    __fqdn = _renamed("__fqdn", "fqdn")
    __peer = _renamed("__peer", "peer")
    __conn = _renamed("__conn", "conn")
    __addr = _renamed("__addr", "addr")

    # --- commands --------------------------------------------------------------------------------------------

    def smtp_HELO(self, arg: str | None) -> None:
        """The client says who it is."""
        if self._greets("HELO", arg):
            self.push(f"250 {self.fqdn}")

    def smtp_EHLO(self, arg: str | None) -> None:
        """The client says who it is, and learns what there is."""
        if not self._greets("EHLO", arg):
            return
        self.extended_smtp = True
        self.push(f"250-{self.fqdn}")
        if self.data_size_limit:
            self.push(f"250-SIZE {self.data_size_limit}")
            self.command_size_limits["MAIL"] += 26
        if not self._decode_data:
            self.push("250-8BITMIME")
        if self.enable_SMTPUTF8:
            self.push("250-SMTPUTF8")
            self.command_size_limits["MAIL"] += 10
        self.push("250 HELP")

    def _greets(self, verb: str, name: str | None) -> bool:
        """Whether the client may say who it is, and has."""
        if not name:
            self.push(f"501 Syntax: {verb} hostname")
        elif self.seen_greeting:
            self.push("503 Duplicate HELO/EHLO")
        else:
            self._set_rset_state()
            self.seen_greeting = self._engine.session.helo = name
            return True
        return False

    def smtp_NOOP(self, arg: str | None) -> None:
        """Do nothing."""
        self.push("501 Syntax: NOOP" if arg else "250 OK")

    def smtp_QUIT(self, arg: str | None) -> None:
        """The client goes."""
        self.push("221 Bye")
        self.close_when_done()

    def smtp_HELP(self, arg: str | None) -> None:
        """Tell about a command, or list them."""
        name = (arg or "").upper()
        if not name:
            self.push(f"250 {COMMANDS}")
        elif name not in SYNTAX:
            self.push(f"501 {COMMANDS}")
        else:
            extended = self.extended_smtp and name in {"MAIL", "RCPT"}
            self.push(f"250 Syntax: {SYNTAX[name]}{PARAMETERS if extended else ''}")

    def smtp_VRFY(self, arg: str | None) -> None:
        """Ask whether a mailbox exists."""
        if not arg:
            self.push("501 Syntax: VRFY <address>")
        elif self._getaddr(arg)[0]:
            self.push("252 Cannot VRFY user, but will accept message and attempt delivery")
        else:
            self.push(f"502 Could not VRFY {arg}")

    def smtp_MAIL(self, arg: str | None) -> None:
        """A mail begins."""
        if not self.seen_greeting:
            self.push("503 Error: send HELO first")
            return
        debug("===> MAIL", arg)
        wrong = self._syntax("MAIL")
        address, options = self._path("FROM:", arg)
        if not address or (options and not self.extended_smtp):
            self.push(wrong)
            return
        if self.mailfrom:
            self.push("503 Error: nested MAIL command")
            return
        self.mail_options = options.upper().split()
        params = self._getparams(self.mail_options)
        reply = wrong if params is None else self._refuse_options(params, wrong)
        if reply is not None:
            self.push(reply)
            return
        self.mailfrom = address
        debug("sender:", address)
        self.push("250 OK")

    def _refuse_options(self, params: dict[str, Any], wrong: str) -> str | None:
        """What is wrong with the parameters of MAIL, if anything is."""
        if not self._decode_data and params.pop("BODY", "7BIT") not in ("7BIT", "8BITMIME"):
            return "501 Error: BODY can only be one of 7BIT, 8BITMIME"
        if self.enable_SMTPUTF8:
            internationalized = params.pop("SMTPUTF8", False)
            if internationalized not in (True, False):
                return "501 Error: SMTPUTF8 takes no arguments"
            self.require_SMTPUTF8 = internationalized
        size = params.pop("SIZE", None)
        if size is not None:
            if size is True or not (size.isascii() and size.isdigit()) or len(size) > 20:
                return wrong
            if self.data_size_limit and int(size) > self.data_size_limit:
                return "552 Error: message size exceeds fixed maximum message size"
        return "555 MAIL FROM parameters not recognized or not implemented" if params else None

    def smtp_RCPT(self, arg: str | None) -> None:
        """Somebody whom it is for."""
        if not self.seen_greeting:
            self.push("503 Error: send HELO first")
            return
        debug("===> RCPT", arg)
        if not self.mailfrom:
            self.push("503 Error: need MAIL command")
            return
        wrong = self._syntax("RCPT")
        address, options = self._path("TO:", arg)
        if not address or (options and not self.extended_smtp):
            self.push(wrong)
            return
        self.rcpt_options = options.upper().split()
        params = self._getparams(self.rcpt_options)
        if params is None:
            self.push(wrong)
        elif params:
            self.push("555 RCPT TO parameters not recognized or not implemented")
        elif len(self.rcpttos) >= self._engine.session.limits.recipients:
            self.push("452 Error: too many recipients")
        else:
            self.rcpttos.append(address)
            debug("recips:", self.rcpttos)
            self.push("250 OK")

    def smtp_RSET(self, arg: str | None) -> None:
        """Give it up."""
        if arg:
            self.push("501 Syntax: RSET")
            return
        self._set_rset_state()
        self.push("250 OK")

    def smtp_DATA(self, arg: str | None) -> None:
        """Its octets come."""
        if not self.seen_greeting:
            self.push("503 Error: send HELO first")
        elif not self.rcpttos:
            self.push("503 Error: need RCPT command")
        elif arg:
            self.push("501 Syntax: DATA")
        else:
            self.smtp_state = self.DATA
            self.set_terminator(b"\r\n.\r\n")
            self.push("354 End data with <CR><LF>.<CR><LF>")

    def smtp_EXPN(self, arg: str | None) -> None:
        """Ask who is on a mailing list."""
        self.push("502 EXPN not implemented")

    # --- what the methods of programs may call ---------------------------------------------------------------

    def _syntax(self, verb: str) -> str:
        return f"501 Syntax: {SYNTAX[verb]}{PARAMETERS if self.extended_smtp else ''}"

    def _path(self, keyword: str, arg: str | None) -> tuple[str, str]:
        """The address and the parameters in the argument of MAIL or RCPT."""
        return self._getaddr(self._strip_command_keyword(keyword, arg or ""))

    def _strip_command_keyword(self, keyword: str, arg: str) -> str:
        """What stands behind *keyword*, if it is there."""
        return behind_keyword(keyword, arg) or ""

    def _getaddr(self, arg: str) -> tuple[str, str]:
        """The address in *arg*, and what stands behind it."""
        address, rest = read_address(arg, 0)
        return address or "", rest or ""

    def _getparams(self, params: list[str]) -> dict[str, Any] | None:
        """The values of *params* by keyword; ``None`` where one is malformed."""
        return read_parameters(params)

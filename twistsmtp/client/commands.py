"""Commands as they are said to one server: one line each; paths by the grammar, and the parameters that it knows."""

from collections.abc import Mapping
from types import MappingProxyType

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.errors import NotOffered
from twistsmtp.envelope import Recipient, ReversePath
from twistsmtp.wire.abnf import CONTROL
from twistsmtp.wire.grammar import GrammarError, Mailbox, parse_forward_path, parse_mailbox, parse_parameters
from twistsmtp.wire.reply import Reply

__all__ = ["PARAMETERS", "line", "mail_command", "mailbox_of", "rcpt_command"]

#: The extension that offers each parameter of MAIL and RCPT which goes on.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "SIZE": "SIZE",
        "BODY": "8BITMIME",
        "SMTPUTF8": "SMTPUTF8",
        "RET": "DSN",
        "ENVID": "DSN",
        "NOTIFY": "DSN",
        "ORCPT": "DSN",
        "BY": "DELIVERBY",
        "HOLDFOR": "FUTURERELEASE",
        "HOLDUNTIL": "FUTURERELEASE",
        "MT-PRIORITY": "MT-PRIORITY",
        "SOLICIT": "NO-SOLICITING",
        "REQUIRETLS": "REQUIRETLS",
        "RRVS": "RRVS",
    }
)

#: Of these a server that does not know them need not be told: nothing is lost.
_HINTS = frozenset({"SIZE"})

_UTF8 = Reply(550, "5.6.7", "The next server does not take mailboxes or header fields that are not ASCII (SMTPUTF8)")
_BINARY = Reply(554, "5.6.3", "The next server does not take binary messages (BINARYMIME)")
_TOO_BIG = "Message exceeds the limit of {limit} octets of the next server"
_REQUIRETLS = Reply(550, "5.7.30", "The next server does not offer REQUIRETLS")


def line(text: str) -> bytes:
    """A command on the wire.

    :raises ValueError: it has a control character: what would be read as two commands is none.
    """
    if CONTROL.search(text):
        raise ValueError("a command has no control characters")
    return text.encode() + b"\r\n"


def mailbox_of(address: str | Mailbox) -> Mailbox:
    """*address*, if it is one by the grammar of RFC 5321 and RFC 6531. ``postmaster`` alone is one.

    :raises ValueError: it is none; so nothing of it can be more than an address on the wire.
    """
    text = str(address)
    try:
        if isinstance(address, Mailbox) or text.lower() == "postmaster":
            mailbox, rest = parse_forward_path(f"TO:<{text}>")
            if rest or str(mailbox) != text:
                raise ValueError("not a mailbox")
            return mailbox
        return parse_mailbox(text)
    except GrammarError as error:
        raise ValueError(f"not a mailbox: {error.text}") from None


def mail_command(path: ReversePath, capabilities: Capabilities, *, secure: bool = False) -> str:
    """MAIL for a server that offers *capabilities*.

    :param secure: whether there is TLS, and the server has shown who it is.
    :raises NotOffered: it would have to be asked for something that it does not offer.
    :raises ValueError: the path or a parameter is none.
    """
    if not secure and any(keyword.upper() == "REQUIRETLS" for keyword, _ in path.options):
        raise NotOffered("REQUIRETLS", _REQUIRETLS)  # RFC 8689 section 4.2.1
    mailbox = "" if path.mailbox is None else _on_the_wire(path.mailbox, path, capabilities)
    return f"MAIL FROM:<{mailbox}>{_options(path.options, capabilities)}"


def rcpt_command(recipient: Recipient, path: ReversePath, capabilities: Capabilities) -> str:
    """RCPT in the transaction of *path*, for a server that offers *capabilities*.

    :raises NotOffered: it would have to be asked for something that it does not offer.
    :raises ValueError: the path or a parameter is none.
    """
    mailbox = _on_the_wire(recipient.mailbox, path, capabilities)
    return f"RCPT TO:<{mailbox}>{_options(recipient.options, capabilities)}"


def _on_the_wire(mailbox: Mailbox, path: ReversePath, capabilities: Capabilities) -> Mailbox:
    if mailbox.is_ascii:
        return mailbox_of(mailbox)
    if ("SMTPUTF8", None) in path.options and "SMTPUTF8" in capabilities:
        return mailbox_of(mailbox)
    if mailbox.local.isascii() and mailbox.host.isascii():  # A-labels mean the same (RFC 5890)
        return mailbox_of(Mailbox(mailbox.local, mailbox.host))
    raise NotOffered("SMTPUTF8", _UTF8)


def _options(options: tuple[tuple[str, str | None], ...], capabilities: Capabilities) -> str:
    words = []
    for keyword, value in options:
        word = _option(keyword.upper(), value, capabilities)
        if word:
            words.append(word)
    text = " ".join(words)
    parse_parameters(text)
    return f" {text}" if text else ""


def _option(keyword: str, value: str | None, capabilities: Capabilities) -> str:
    """The parameter as it is said, or ``""``."""
    needed = PARAMETERS.get(keyword)
    if needed is None:  # what it asks for is done here, if anywhere
        return ""
    if keyword == "BODY":
        value = (value or "7BIT").upper()
        if value == "BINARYMIME" and not ("BINARYMIME" in capabilities and "CHUNKING" in capabilities):
            raise NotOffered("BINARYMIME", _BINARY)
    if needed in capabilities:
        limit = capabilities.size
        if keyword == "SIZE" and limit is not None and value is not None and int(value) > limit:
            raise NotOffered("SIZE", Reply(552, "5.3.4", _TOO_BIG.format(limit=limit)))
        return keyword if value is None else f"{keyword}={value}"
    if keyword in _HINTS or keyword == "BODY":  # octets above 127 are looked for when they come
        return ""
    if keyword == "SMTPUTF8":
        raise NotOffered("SMTPUTF8", _UTF8)
    if keyword == "REQUIRETLS":
        raise NotOffered("REQUIRETLS", _REQUIRETLS)
    raise NotOffered(needed, Reply(451, "4.3.3", f"The next server does not offer {needed}"))

"""RSET, NOOP, VRFY, HELP and QUIT (RFC 5321 sections 4.1.1.5 to 4.1.1.10)."""

from ..check import MUST, SHOULD, check
from ..talk import Failed, Start, Talk

__all__: list[str] = []


@check("session.noop", 5321, "4.1.1.9", MUST, start=Start.RCPT)
def noop(talk: Talk) -> None:
    """NOOP is answered by 250, and changes nothing."""
    talk.ask("NOOP", "250")
    talk.ask("DATA", "354")


@check("session.noop-argument", 5321, "4.1.1.9", SHOULD)
def noop_argument(talk: Talk) -> None:
    """NOOP takes an argument."""
    talk.ask("NOOP of no meaning", "250")


@check("session.rset", 5321, "4.1.1.5", MUST, start=Start.RCPT)
def rset(talk: Talk) -> None:
    """RSET is answered by 250, and ends the transaction."""
    talk.ask("RSET", "250")
    talk.ask(talk.rcpt, "5")
    talk.ask("DATA", "5")


@check("session.rset-open", 5321, "4.1.1.5", MUST)
def rset_open(talk: Talk) -> None:
    """RSET does not end the connection, nor what EHLO began."""
    for _ in range(3):
        talk.ask("RSET", "250")
    talk.ask(talk.mail, "250")


@check("session.rset-hello", 5321, "4.1.1.5", MUST, start=Start.GREETED)
def rset_hello(talk: Talk) -> None:
    """RSET is answered by 250 before EHLO."""
    talk.ask("RSET", "250")


@check("session.vrfy", 5321, "4.5.1", MUST)
def vrfy(talk: Talk) -> None:
    """VRFY is known."""
    reply = talk.say(f"VRFY {talk.target.recipient}")
    if reply.is_one_of("500", "503"):
        raise Failed(f"VRFY was answered by {reply}")


@check("session.vrfy-argument", 5321, "4.1.1.6", SHOULD)
def vrfy_argument(talk: Talk) -> None:
    """VRFY without an argument is refused."""
    talk.ask("VRFY", "5")


@check("session.help", 5321, "4.1.1.8", SHOULD)
def help(talk: Talk) -> None:
    """HELP is answered by 211 or 214."""
    talk.ask("HELP", "211", "214")


@check("session.quit", 5321, "4.1.1.10", MUST)
def quit(talk: Talk) -> None:
    """QUIT is answered by 221, and the connection ends."""
    talk.ask("QUIT", "221")
    _ended(talk)


@check("session.quit-hello", 5321, "4.1.4", MUST, start=Start.GREETED)
def quit_hello(talk: Talk) -> None:
    """QUIT works before EHLO."""
    talk.ask("QUIT", "221")
    _ended(talk)


@check("session.quit-transaction", 5321, "4.1.1.10", MUST, start=Start.RCPT)
def quit_transaction(talk: Talk) -> None:
    """QUIT works in a transaction."""
    talk.ask("QUIT", "221")
    _ended(talk)


@check("session.quit-last", 5321, "4.1.1.10", MUST)
def quit_last(talk: Talk) -> None:
    """Nothing behind QUIT is answered."""
    talk.send_lines("QUIT", "NOOP", "NOOP")
    talk.link.read()
    _ended(talk)


def _ended(talk: Talk) -> None:
    if not talk.link.is_ended():
        raise Failed("the connection did not end behind 221")


@check("session.argument", 5321, "4.1.1", SHOULD, start=Start.RCPT)
def argument(talk: Talk) -> None:
    """RSET, DATA and QUIT with an argument are answered by 501."""
    for command in ("RSET now", "DATA now", "QUIT now"):
        talk.ask(command, "501")

"""The order of commands (RFC 5321 sections 3.3, 4.1.4)."""

from ..check import MUST, SHOULD, check
from ..talk import Failed, Start, Talk, expect

__all__: list[str] = []


@check("order.hello-first", 5321, "4.1.4", SHOULD, start=Start.GREETED)
def hello_first(talk: Talk) -> None:
    """MAIL without EHLO is answered by 503."""
    talk.ask(talk.mail, "503", "530")


@check("order.before-hello", 5321, "4.1.4", SHOULD, start=Start.GREETED)
def before_hello(talk: Talk) -> None:
    """NOOP, RSET, VRFY and HELP need no EHLO."""
    for command in ("NOOP", "RSET", "VRFY postmaster", "HELP"):
        reply = talk.say(command)
        if reply.is_one_of("503"):
            raise Failed(f"{command} was answered by {reply}")


@check("order.rcpt-first", 5321, "3.3", MUST)
def rcpt_first(talk: Talk) -> None:
    """RCPT without MAIL is answered by 503."""
    talk.ask(talk.rcpt, "503")


@check("order.data-first", 5321, "3.3", MUST)
def data_first(talk: Talk) -> None:
    """DATA without MAIL brings no mail in."""
    _refused_data(talk)


@check("order.data-without-rcpt", 5321, "3.3", MUST, start=Start.MAIL)
def data_without_rcpt(talk: Talk) -> None:
    """DATA without RCPT brings no mail in."""
    _refused_data(talk)


@check("order.data-without-valid-rcpt", 2920, "3.2", MUST, start=Start.MAIL)
def data_without_valid_rcpt(talk: Talk) -> None:
    """DATA without a recipient that was taken brings no mail in."""
    talk.ask("RCPT TO:", "5")
    _refused_data(talk)


def _refused_data(talk: Talk) -> None:
    reply = expect(talk.say("DATA"), "5", "354", what="DATA")
    if reply.code == 354:
        talk.link.send(b".\r\n")
        expect(talk.link.read(), "5", what="an empty message to nobody")


@check("order.nested-mail", 5321, "4.1.4", SHOULD, start=Start.MAIL)
def nested_mail(talk: Talk) -> None:
    """A second MAIL in a transaction is answered by 503."""
    talk.ask(talk.mail, "503")


@check("order.after-message", 5321, "4.1.1.4", MUST, start=Start.RCPT)
def after_message(talk: Talk) -> None:
    """The end of a message ends the transaction."""
    talk.message(b"Subject: conformance\r\n\r\ntext")
    talk.ask(talk.rcpt, "5")
    talk.ask("DATA", "5")


@check("order.two-messages", 5321, "4.1.4", MUST, start=Start.RCPT)
def two_messages(talk: Talk) -> None:
    """A connection takes a second message."""
    for place in (1, 2):
        expect(talk.message(b"Subject: conformance\r\n\r\n%d" % place), "250", what=f"message {place}")
        if place == 1:
            talk.begin()


@check("order.bad-mail", 5321, "4.1.4", MUST)
def bad_mail(talk: Talk) -> None:
    """A MAIL that is refused begins no transaction."""
    talk.ask("MAIL FROM:", "5")
    talk.ask(talk.rcpt, "5")


@check("order.bad-rcpt", 5321, "4.1.4", MUST, start=Start.RCPT)
def bad_rcpt(talk: Talk) -> None:
    """A RCPT that is refused leaves the others."""
    talk.ask("RCPT TO:", "5")
    expect(talk.message(b"Subject: conformance\r\n\r\ntext"), "250", what="the message")

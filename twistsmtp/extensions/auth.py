"""AUTH (RFC 4954): a client says who it is, and proves it by a mechanism of SASL."""

from twistsmtp.cred import LINE, Authentication, decode, offered
from twistsmtp.envelope import Parameter
from twistsmtp.later import Later
from twistsmtp.session import Session, Stage
from twistsmtp.verb import Close, Extension, Outcome, Verb
from twistsmtp.wire.grammar import GrammarError, Mailbox, decode_xtext_octets, parse_mailbox
from twistsmtp.wire.reply import Refusal

__all__ = ["AUTH", "extension"]

SYNTAX = "AUTH mechanism [initial-response]"


def _parse(session: Session, argument: str) -> tuple[str, str | None]:
    """The mechanism's name, and the initial response as it was sent, if there is one."""
    name, *initial = argument.split(" ")
    if not name or len(initial) > 1:
        raise Refusal(session.replies.argument_needed.fill(syntax=SYNTAX))
    return name.upper(), initial[0] if initial else None


def _run(session: Session, value: tuple[str, str | None]) -> Later[Outcome]:
    name, initial = value
    security, replies, limits = session.security, session.replies, session.limits
    if not session.esmtp:
        raise Refusal(replies.hello_first if session.helo is None else replies.ehlo_first)
    if session.identity is not None:
        raise Refusal(replies.authenticated_already)
    if security.portal is None:
        raise Refusal(replies.not_implemented.fill(verb="AUTH"))
    if not session.may_authenticate:
        raise Refusal(replies.encryption_required)
    mechanism = next((each for each in offered(session) if each.name == name), None)
    if mechanism is None:
        raise Refusal(replies.mechanism_unknown)
    if round(security.failures.count(session.network, session.seconds())) >= limits.auth_failures_per_client:
        return Close(replies.too_many_auth_failures)
    try:
        octets = decode("" if initial == "=" else initial) if initial is not None else None
    except ValueError:
        raise Refusal(replies.not_base64) from None
    return Authentication(session, mechanism, octets).go_on()


def _parse_mailbox(session: Session, value: str | None) -> Mailbox | None:
    if value is None:
        raise GrammarError("AUTH", 501, "5.5.4", "AUTH is a mailbox or <>")
    if value == "<>":
        return None
    try:
        return parse_mailbox(decode_xtext_octets(value).decode(), session.limits.path)
    except UnicodeDecodeError:
        raise GrammarError("AUTH", 501, "5.5.4", "AUTH is a mailbox in UTF-8") from None
    except GrammarError as error:  # 553 would be about the reverse-path
        raise GrammarError("AUTH", 501, "5.5.4", error.text) from None


#: ``reverse_path.get(AUTH)``: who first submitted the message, as the client has it; ``None`` where it does not say
#: or does not know. It is the word of the client, to be believed as far as the client is (RFC 4954 section 5, which
#: adds 500 octets to MAIL).
AUTH: Parameter[Mailbox | None] = Parameter(
    keyword="AUTH",
    parse=_parse_mailbox,
    default=None,
    octets=500,
    usable=lambda session: session.security.portal is not None,
)


def _keyword(session: Session) -> str | None:
    mechanisms = offered(session)
    return " ".join(["AUTH", *(each.name for each in mechanisms)]) if mechanisms else None


def extension() -> Extension:
    """All that it adds."""
    return Extension(
        name="auth",
        rfc="RFC 4954",
        keyword=_keyword,
        verbs=(
            Verb(
                name="AUTH",
                syntax=SYNTAX,
                help="Say who you are, and prove it.",
                parse=_parse,
                run=_run,
                stages=Stage.READY | Stage.BARRED,
                usable=lambda session: bool(offered(session)),
                idle=True,
                octets=LINE - 512,  # what any line has
                too_long=lambda session: session.replies.authentication_line_too_long,
            ),
        ),
        mail_parameters=(AUTH,),
    )

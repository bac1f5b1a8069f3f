"""An application as a user would type it: ``mypy --strict`` checks it with no configuration and no plugin of ours."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed

from twistsmtp import (
    Callback,
    Certificates,
    Config,
    Delivery,
    DeliveryTransaction,
    Envelope,
    Extension,
    Limits,
    LMTPFactory,
    Mail,
    MailStream,
    Parameter,
    Policy,
    Recipient,
    Refusal,
    RelayRule,
    Reply,
    ReversePath,
    Security,
    Session,
    SMTPFactory,
    SMTPService,
    Stage,
    StreamCallback,
    Verb,
    parse_mailbox,
    serve,
)

NO = Reply(550, "5.7.1", "No")

# --- mail for a function: plain, asynchronous, or with a Deferred ---------------------------------------------


def plain(mail: Mail) -> None:
    subject: str | None = mail.email["Subject"]
    print(subject, mail.octets[:10], mail.open().read(10), mail.size, mail.session.client)


async def asynchronous(mail: Mail) -> Reply:
    return Reply(250, "2.0.0", f"for {len(mail.envelope.recipients)}")


def with_a_deferred(mail: Mail) -> "Deferred[Sequence[Reply]]":
    return succeed([Reply(250, "2.0.0", "Ok") for _ in mail.envelope.recipients])


async def streaming(mail: MailStream) -> None:
    async for octets in mail:
        print(len(octets))


def on_rcpt(session: Session, recipient: Recipient) -> None:
    if recipient.mailbox.local == "nobody":
        raise Refusal(NO)


# --- a delivery and a policy of one's own ---------------------------------------------------------------------


class Count(Delivery):
    def __init__(self) -> None:
        self.octets = 0

    async def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        return CountOne(self)


class CountOne(DeliveryTransaction):
    def __init__(self, count: Count) -> None:
        self._count = count

    def open(self, envelope: Envelope) -> "Deferred[None]":
        return succeed(None)

    async def write(self, octets: bytes) -> None:
        self._count.octets += len(octets)


#: A parameter of MAIL, and its value with its type.
COLOR: Parameter[str] = Parameter("COLOR", parse=lambda session, text: text or "red", default="none", octets=20)


class Colors(Policy):
    on_failure = "pass"
    reads_message = True

    def mail(self, session: Session, reverse_path: ReversePath) -> None:
        color: str = reverse_path.get(COLOR)
        session.notes["color"] = color

    async def rcpt(self, session: Session, recipient: Recipient) -> None:
        session.redirect(parse_mailbox("postmaster@example.org"))

    def message(self, session: Session, envelope: Envelope) -> None:
        session.add_field("X-Color", session.notes["color"])
        print(session.message.open().read(), session.tls.version if session.tls else None, session.host)
        session.at_end(lambda: print("gone"))


# --- a verb in an extension, and the whole -------------------------------------------------------------------


async def say_color(session: Session, argument: str) -> Reply:
    return Reply(250, "2.0.0", argument)


XCOLOR: Verb[str] = Verb(
    name="XCOLOR",
    syntax="XCOLOR",
    help="Say a color.",
    parse=lambda session, argument: argument,
    run=say_color,
    stages=Stage.READY,
)
COLORS = Extension(
    name="colors",
    keyword=lambda session: "XCOLOR",
    verbs=(XCOLOR,),
    mail_parameters=(COLOR,),
)


def factories() -> list[SMTPFactory]:
    deliveries: list[Delivery] = [
        Callback(plain, in_thread=True),
        Callback(asynchronous, on_rcpt=on_rcpt),
        Callback(with_a_deferred),
        StreamCallback(streaming, honours=["dsn"]),
        Count(),
    ]
    security = Security(tls=Certificates("mx.pem"), require_tls=True)
    policies: list[Policy] = [RelayRule(["example.org"]), Colors()]
    return [
        *(SMTPFactory(each, policies=policies, limits=Limits(recipients=10)) for each in deliveries),
        LMTPFactory(Count(), security=security, more_extensions=[COLORS]),
    ]


def service() -> SMTPService:
    return SMTPService(Config(listen=("tcp:0",), domains=("example.org",), delivery="discard:"))


def main() -> None:
    serve(factories()[0], "tcp:2525", drain_time=5)

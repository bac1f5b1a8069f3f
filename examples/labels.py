"""An extension of one's own: clients give messages a label, by MAIL FROM:<…> XLABEL=weekly. labels.py [ENDPOINT]"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Callback, Extension, Mail, Parameter, Refusal, Reply, Session, SMTPFactory
from twistsmtp.extensions import load_extensions

NO_LABEL = Reply(501, "5.5.4", "A label has 1 to 20 letters")


def parse_label(session: Session, text: str | None) -> str:
    """The value of the parameter: what is behind the = sign."""
    if text is None or not text.isalpha() or len(text) > 20:
        raise Refusal(NO_LABEL)
    return text.lower()


LABEL = Parameter("XLABEL", parse=parse_label, default="none", octets=len(" XLABEL=") + 20)


async def on_mail(mail: Mail) -> None:
    """Its type is known: this is a ``str``."""
    print(f"{mail.envelope.reverse_path.get(LABEL)}: {mail.email['Subject']!r}", flush=True)


async def main(reactor: object, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    xlabel = Extension(name="xlabel", rfc="none", keyword="XLABEL 20", mail_parameters=(LABEL,))
    factory = SMTPFactory(Callback(on_mail), extensions=[*load_extensions(), xlabel])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

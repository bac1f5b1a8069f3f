"""An extension of one's own: clients give messages a label, by MAIL FROM:<…> XLABEL=weekly. labels.py [ENDPOINT]"""

import sys

from twistsmtp import Callback, Extension, Mail, Parameter, Refusal, Reply, Session, SMTPFactory, serve

NO_LABEL = Reply(501, "5.5.4", "A label has 1 to 20 letters")


def parse_label(session: Session, text: str | None) -> str:
    """The value of the parameter: what is behind the = sign."""
    if text is None or not text.isalpha() or len(text) > 20:
        raise Refusal(NO_LABEL)
    return text.lower()


LABEL = Parameter("XLABEL", parse=parse_label, default="none", octets=len(" XLABEL=") + 20)
XLABEL = Extension(name="xlabel", keyword="XLABEL 20", mail_parameters=(LABEL,))


async def on_mail(mail: Mail) -> None:
    """Its type is known: this is a ``str``."""
    print(f"{mail.envelope.reverse_path.get(LABEL)}: {mail.email['Subject']!r}", flush=True)


if __name__ == "__main__":
    serve(SMTPFactory(Callback(on_mail), more_extensions=[XLABEL]), *sys.argv[1:])

"""All mail of a domain for a function: catch_all.py [ENDPOINT]"""

import sys

from twistsmtp import Callback, Mail, RelayRule, SMTPFactory, serve


async def on_mail(mail: Mail) -> None:
    """What the application does with a message. When this returns, the client is told that it was taken."""
    recipients = ", ".join(map(str, mail.envelope.recipients))
    print(f"{mail.email['Subject']!r} from {mail.envelope.reverse_path} for {recipients}", flush=True)


if __name__ == "__main__":
    serve(SMTPFactory(Callback(on_mail), policies=[RelayRule(["localhost", "example.org"])]), *sys.argv[1:])

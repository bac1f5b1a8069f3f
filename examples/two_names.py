"""A server with two names, and a certificate for each (SNI): two_names.py CERTIFICATE CERTIFICATE [ENDPOINT]"""

import sys

from twistsmtp import Callback, Certificates, Mail, Security, SMTPFactory, serve


def on_mail(mail: Mail) -> None:
    """Each name may be another's."""
    tls = mail.session.tls
    print(f"by way of {tls.server_name if tls else 'no name'}: {mail.email['Subject']!r}", flush=True)


if __name__ == "__main__":
    one, other, *endpoint = sys.argv[1:]
    # A client that wants another name, or none, is shown the first one.
    serve(SMTPFactory(Callback(on_mail), security=Security(tls=Certificates(one, other))), *endpoint)

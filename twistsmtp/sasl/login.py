"""LOGIN (draft-murchison-sasl-login): a name and a password, each asked for.

No standard, but old clients know nothing better. They wait for the prompts in just these words.
"""

from twisted.cred.credentials import IUsernamePassword, UsernamePassword

from twistsmtp.sasl.api import Context, Exchange, Mechanism, ask, log_in
from twistsmtp.sasl.prep import prepared

__all__ = ["MECHANISM"]


def _login(context: Context) -> Exchange:
    username = prepared((yield from ask(b"Username:", prompt=True)), "username")
    password = prepared((yield from ask(b"Password:")), "password")
    yield from log_in(UsernamePassword(username.encode(), password.encode()), username)


MECHANISM = Mechanism(name="LOGIN", start=_login, interface=IUsernamePassword)

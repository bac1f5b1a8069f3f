"""The server's side of an exchange, without a server: it plays the checker, and a script or a client answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twistsmtp.sasl import load_mechanisms
from twistsmtp.sasl.api import Challenge, Context, Denied, Login, Lookup, Mechanism, SASLError
from twistsmtp.sasl.credentials import ScramKeys

__all__ = ["CONTEXT", "Talk", "failure", "talk"]

CONTEXT = Context(hostname="mx.test")


@dataclass
class Talk:
    """What came of an exchange."""

    challenges: list[bytes] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
    #: How often a challenge had been sent when each login was checked.
    sent_before: list[int] = field(default_factory=list)
    error: SASLError | None = None

    @property
    def credentials(self) -> Any:
        """Of the only login."""
        (login,) = self.logins
        return login.credentials

    @property
    def identity(self) -> tuple[str | None, str | None]:
        """Whom the client acts as, and whose the credentials are if another's."""
        (login,) = self.logins
        return login.identity, login.authentication


def talk(
    mechanism: str | Mechanism,
    client: Sequence[bytes] | Callable[[bytes], bytes],
    *,
    check: Callable[[Any], object] = lambda credentials: True,
    keys: ScramKeys | None = None,
    context: Context = CONTEXT,
) -> Talk:
    """Play an exchange to its end.

    :param client: its responses, one for each challenge and not one too many; or a function from challenge to response.
    :param check: of the credentials: whether they are right.
    :param keys: what a lookup finds.
    """
    machine = (load_mechanisms([mechanism])[0] if isinstance(mechanism, str) else mechanism).start(context)
    responses = None if callable(client) else list(client)
    talk = Talk()
    try:
        step = machine.send(None)
        while True:
            if isinstance(step, Challenge):
                talk.challenges.append(step.octets)
                step = machine.send(client(step.octets) if callable(client) else (responses or []).pop(0))
            elif isinstance(step, Lookup):
                talk.lookups.append(step)
                step = machine.send(keys)
            else:
                talk.logins.append(step)
                talk.sent_before.append(len(talk.challenges))
                step = machine.send(None) if check(step.credentials) else machine.throw(Denied("by the test"))
    except StopIteration:
        assert len(talk.logins) == 1, "a mechanism that ends well has logged in"
    except SASLError as error:
        talk.error = error
    assert not responses, f"{responses} not read"
    return talk


def failure(mechanism: str | Mechanism, *responses: bytes, **settings: Any) -> type[SASLError]:
    """The class of the error that an exchange ends in."""
    error = talk(mechanism, responses, **settings).error
    assert error is not None, "no error"
    return type(error)

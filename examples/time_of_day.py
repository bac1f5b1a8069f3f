"""An extension with a verb of its own: XTIME tells what the server's clock shows. time_of_day.py [ENDPOINT]"""

import sys
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react

from twistsmtp import Discard, Extension, Reply, Session, SMTPFactory, Verb
from twistsmtp.extensions import load_extensions
from twistsmtp.verbs.arguments import no_argument

XTIME = Verb(
    name="XTIME",
    syntax="XTIME",
    help="Tell the time.",
    parse=no_argument("XTIME"),
    run=lambda session, _: tell_time(session),
    idle=True,
)


def tell_time(session: Session) -> Reply:
    """What the client is told."""
    return Reply(250, "2.0.0", datetime.now(UTC).isoformat(timespec="seconds"))


async def main(reactor: object, endpoint: str = "tcp:8025:interface=127.0.0.1") -> None:
    """Serve until the process is stopped."""
    extension = Extension(name="xtime", rfc="none", keyword="XTIME", verbs=(XTIME,))
    factory = SMTPFactory(Discard(), extensions=[*load_extensions(), extension])
    port = await serverFromString(reactor, endpoint).listen(factory)
    print("listening on", port.getHost().port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])

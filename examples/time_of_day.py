"""An extension with a verb of its own: XTIME tells what the server's clock shows. time_of_day.py [ENDPOINT]"""

import sys
from datetime import UTC, datetime

from twistsmtp import Discard, Extension, Reply, Session, SMTPFactory, Verb, serve
from twistsmtp.verbs.arguments import no_argument


def tell_time(session: Session, argument: None) -> Reply:
    """What the client is told."""
    return Reply(250, "2.0.0", datetime.now(UTC).isoformat(timespec="seconds"))


XTIME = Verb(name="XTIME", syntax="XTIME", help="Tell the time.", parse=no_argument("XTIME"), run=tell_time, idle=True)

if __name__ == "__main__":
    clock = Extension(name="xtime", keyword="XTIME", verbs=(XTIME,))
    serve(SMTPFactory(Discard(), more_extensions=[clock]), *sys.argv[1:])

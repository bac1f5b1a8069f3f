"""For who tests programs that send mail, or extends this server: the real server, where a test wants to have it.

* `MailServer`: on a real port, in a thread, with an inbox; told what to do wrong. pytest has it as fixtures.
* `MemoryServer`: without sockets or threads, and with a clock that the test moves.
* `assert_conversation` and `assert_replies`: what a server is to say.
* `Recorder`, `replay` and `assert_replay`: sessions that are kept, and held again.
* `ServerThread`: any server factory in a thread.

``python -m twistsmtp.testing`` takes mail and prints it. A name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistsmtp.testing.conversation import assert_conversation, assert_replies
    from twistsmtp.testing.faults import Faults
    from twistsmtp.testing.inbox import Inbox, ReceivedMessage
    from twistsmtp.testing.memory import MemoryClient, MemoryServer
    from twistsmtp.testing.recorder import Recorder
    from twistsmtp.testing.replay import assert_replay, replay
    from twistsmtp.testing.server import MailServer
    from twistsmtp.testing.thread import ServerThread

__all__ = [
    "Faults",
    "Inbox",
    "MailServer",
    "MemoryClient",
    "MemoryServer",
    "ReceivedMessage",
    "Recorder",
    "ServerThread",
    "assert_conversation",
    "assert_replay",
    "assert_replies",
    "replay",
]

_ORIGINS = {
    "conversation": ("assert_conversation", "assert_replies"),
    "faults": ("Faults",),
    "inbox": ("Inbox", "ReceivedMessage"),
    "memory": ("MemoryClient", "MemoryServer"),
    "recorder": ("Recorder",),
    "replay": ("assert_replay", "replay"),
    "server": ("MailServer",),
    "thread": ("ServerThread",),
}

if not TYPE_CHECKING:  # for a type checker, a name that is not there is an error
    _MODULES = {name: module for module, names in _ORIGINS.items() for name in names}

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})

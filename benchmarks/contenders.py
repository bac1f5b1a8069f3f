"""The servers that are measured: this one, and its peers."""

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.environments import ENVIRONMENTS, Environment, InstallError, Say
from benchmarks.load import Load
from benchmarks.postfix import find_postfix, serve_postfix
from benchmarks.processes import Server, free_port
from twistsmtp.tls.development import make_development_certificate

__all__ = ["NAMES", "OURS", "PEERS", "Field", "Starter", "gather", "gather_durable", "serve_ours", "takes"]

ROOT = Path(__file__).resolve().parent.parent
#: The command of `serve_ours`, under this checkout whatever is installed.
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

#: More connections than are ever made to it at one time.
MANY = "20000"

#: Starts a server in a folder, on a processor. It accepts all mail to example.com.
Starter = Callable[[Path, int], Server]


@dataclass(frozen=True, slots=True)
class Peer:
    """A server beside this one.

    :param environment: of `ENVIRONMENTS`.
    :param script: of ``peers/``, which is given a port, the path of a certificate with its key, and *words*.
    :param tls: whether it has STARTTLS.
    """

    environment: str
    script: str
    words: Sequence[str] = ()
    tls: bool = True

    def start(self, name: str, environment: Environment, folder: Path, processor: int) -> Server:
        """Start it."""
        port, certificate = free_port(), make_development_certificate(folder)
        command = environment.command(self.script, str(port), str(certificate), *self.words)
        return Server(name, command, port, folder, processor)


OURS = "twistsmtp"
PEERS = {
    "twisted.mail": Peer("pip", "accept_twistedmail.py"),
    "aiosmtpd": Peer("pip", "accept_aiosmtpd.py"),
    "aiosmtpd-uvloop": Peer("pip", "accept_aiosmtpd.py", ["uvloop"]),
    "smtp-server": Peer("npm", "accept_smtpserver.js"),
    "Haraka": Peer("npm", "accept_haraka.js"),
    "smtp-sink": Peer("postfix", "accept_sink.sh", tls=False),
}
NAMES = (OURS, *PEERS)


@dataclass(frozen=True, slots=True)
class Field:
    """Who takes part.

    :param left_out: why the others do not.
    """

    starters: Mapping[str, Starter]
    left_out: Mapping[str, str]


def gather(names: Collection[str], cache: Path, say: Say) -> Field:
    """Those of `NAMES` that can be had; they drop what they accept.

    :param cache: where the peers are installed, unless they are.
    :param say: told what takes time, and who is left out.
    """
    peers = {name: PEERS[name] for name in names if name != OURS}
    wanted = dict.fromkeys(peer.environment for peer in peers.values())
    environments = {environment: _environment(environment, cache, say) for environment in wanted}
    starters: dict[str, Starter] = {OURS: serve_ours} if OURS in names else {}
    left_out: dict[str, str] = {}
    for name, peer in peers.items():
        environment = environments[peer.environment]
        if isinstance(environment, Environment):
            starters[name] = partial(peer.start, name, environment)
        else:
            left_out[name] = str(environment)
            say(f"{name} is left out, because {environment}")
    return Field(starters, left_out)


def _environment(name: str, cache: Path, say: Say) -> Environment | InstallError:
    try:
        return ENVIRONMENTS[name](cache, say)
    except InstallError as error:
        return error


def gather_durable(say: Say) -> Field:
    """This server with a Maildir, and Postfix with its queue: a message is safe on the disk before they say so."""
    maildir = partial(serve_ours, delivery="maildir:Maildir:create=yes")
    try:
        find_postfix()
    except InstallError as error:
        say(f"postfix is left out, because {error}")
        return Field({OURS: maildir}, {"postfix": str(error)})
    return Field({OURS: maildir, "postfix": serve_postfix}, {})


def takes(server: Server, load: Load) -> bool:
    """Whether *server* can take *load*."""
    return load.mode != "starttls" or server.name not in PEERS or PEERS[server.name].tls


def serve_ours(folder: Path, processor: int, *, delivery: str = "discard:", options: Sequence[str] = ()) -> Server:
    """This server as it runs in production, with its log in a file.

    Only two limits are not the default: the load comes from a single address, and may hold many connections.
    """
    port = free_port()
    command = [
        *("env", f"PYTHONPATH={os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])}"),
        *_TWISTD,
        *("--nodaemon", "--pidfile=", "--logfile", str(folder / "twistd.log"), "smtp"),
        *("--listen", f"tcp:{port}:interface=127.0.0.1", "--hostname", "mx.example.com", "--domain", "example.com"),
        *("--tls-cert", str(make_development_certificate(folder))),
        *("--max-connections", MANY, "--max-connections-per-client", MANY, "--delivery", delivery, *options),
    ]
    return Server(OURS, command, port, folder, processor)

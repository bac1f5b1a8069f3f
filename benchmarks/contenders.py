"""The servers that are measured: this one, and its peers in an environment of their own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.processes import Server, free_port
from twistsmtp.tls.development import make_development_certificate

__all__ = ["NAMES", "OURS", "PEERS", "InstallError", "install_peers", "serve", "serve_ours"]

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
REQUIREMENTS = FOLDER / "peers" / "requirements.txt"

OURS = "twistsmtp"
PEERS = {"twisted.mail": "accept_twistedmail.py", "aiosmtpd": "accept_aiosmtpd.py"}
NAMES = (OURS, *PEERS)

#: The command of `serve_ours`, under this checkout whatever is installed.
_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


class InstallError(Exception):
    """The peers cannot be installed."""


def install_peers(cache: Path, say: Callable[[str], object]) -> Path:
    """Make an environment with the peers in *cache*, unless it is there.

    :param say: told what takes time.
    :returns: its Python.
    :raises InstallError: pip failed.
    """
    version = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"peers-{version}"
    python, installed = folder / "bin" / "python", folder / "installed"
    if installed.exists():
        return python
    say(f"installing the peers into {folder}")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, "--requirement", str(REQUIREMENTS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            output = (done.stderr or done.stdout).strip()
            raise InstallError(f"the peers cannot be installed (--only {OURS} does without):\n{output}")
    installed.touch()
    return python


def serve(name: str, folder: Path, processor: int, peers: Path | None) -> Server:
    """The server *name* of `NAMES`, which accepts all mail to example.com and drops it.

    :param peers: the Python of `install_peers`.
    """
    if name == OURS:
        return serve_ours(folder, processor)
    port, certificate = free_port(), make_development_certificate(folder)
    command = [str(peers), str(FOLDER / "peers" / PEERS[name]), str(port), str(certificate)]
    return Server(name, command, port, folder, processor)


def serve_ours(folder: Path, processor: int, delivery: str = "discard:", options: Sequence[str] = ()) -> Server:
    """This server as it runs in production, with its log in a file.

    Only one limit is not the default: the load comes from a single address.
    """
    port = free_port()
    command = [
        *("env", f"PYTHONPATH={os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])}"),
        *_TWISTD,
        *("--nodaemon", "--pidfile=", "--logfile", str(folder / "twistd.log"), "smtp"),
        *("--listen", f"tcp:{port}:interface=127.0.0.1", "--hostname", "mx.example.com", "--domain", "example.com"),
        *("--tls-cert", str(make_development_certificate(folder))),
        *("--max-connections-per-client", "5000", "--delivery", delivery, *options),
    ]
    return Server(OURS, command, port, folder, processor)

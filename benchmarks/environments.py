"""Where the peers live: what pip and npm install goes into folders of its own, or is found on the system."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ENVIRONMENTS", "Environment", "InstallError", "Say"]

PEERS = Path(__file__).resolve().parent / "peers"
#: Told what takes time.
Say = Callable[[str], object]


class InstallError(Exception):
    """Something cannot be installed; says why in one line."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What runs the scripts of ``peers/``.

    :param interpreter: the words of a command that come before a script's.
    """

    interpreter: Sequence[str]

    def command(self, script: str, *words: str) -> list[str]:
        """The command that runs *script* of ``peers/`` with these *words*."""
        return [*self.interpreter, str(PEERS / script), *words]


def _install_pip(cache: Path, say: Say) -> Environment:
    """A virtual environment with ``requirements.txt``, made in *cache* unless it is there.

    :raises InstallError: pip failed.
    """
    requirements = PEERS / "requirements.txt"
    folder = _folder(cache, "pip", requirements.read_bytes(), sys.version.encode())
    python = str(folder / "bin" / "python")
    if _begun(folder, say):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        _run([*pip, "--requirement", str(requirements)])
        (folder / "installed").touch()
    return Environment([python])


def _install_npm(cache: Path, say: Say) -> Environment:
    """Node, with what ``package-lock.json`` has, installed into *cache* unless it is there.

    :raises InstallError: there is no Node or no npm, or npm failed.
    """
    node, npm = _program("node"), _program("npm")
    files = [PEERS / name for name in ("package.json", "package-lock.json", ".npmrc")]
    folder = _folder(cache, "npm", *(file.read_bytes() for file in files))
    if _begun(folder, say):
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        _run([npm, "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--prefix", str(folder)])
        (folder / "installed").touch()
    return Environment(["env", f"NODE_PATH={folder / 'node_modules'}", node])


def _find_postfix(cache: Path, say: Say) -> Environment:
    """A shell, for the programs of Postfix.

    :raises InstallError: Postfix is not installed.
    """
    _program("smtp-sink")
    return Environment([_program("sh")])


#: Makes each environment: given a folder for what is installed, and who is told.
ENVIRONMENTS: dict[str, Callable[[Path, Say], Environment]] = {
    "pip": _install_pip,
    "npm": _install_npm,
    "postfix": _find_postfix,
}


def _folder(cache: Path, name: str, *contents: bytes) -> Path:
    """A folder for what is installed by files with these *contents*: others, another folder."""
    return cache / f"{name}-{hashlib.sha256(b''.join(contents)).hexdigest()[:12]}"


def _begun(folder: Path, say: Say) -> bool:
    """Whether *folder* is to be made; one that was left by halves is taken away."""
    if (folder / "installed").exists():
        return False
    say(f"installing into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _program(name: str) -> str:
    """The path of a program.

    :raises InstallError: it is not installed.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if found is None:
        raise InstallError(f"{name} is not installed")
    return found


def _run(command: Sequence[str]) -> None:
    """Run a command.

    :raises InstallError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).split("\n")
        telling = [line for line in said if "error" in line.lower()] or said
        raise InstallError(f"{Path(command[0]).name} failed: {telling[0].strip()}")

"""Programs as users write them for the two oldest APIs: run as they are, and with their imports changed."""

import difflib
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

from tests.forked import run_module_forked, run_text

__all__ = ["LACKING_SMTPD", "changes", "expected", "run", "run_module", "run_python", "text_of"]

PROGRAMS = Path(__file__).parent / "old_programs"
LACKING_SMTPD = None if find_spec("smtpd") else "this Python has no smtpd, which 3.12 took out"

#: All that has to be changed in a program.
_IMPORTS = {
    "import asyncore": "from twistsmtp.compat import smtpd as asyncore",
    "import smtpd": "from twistsmtp.compat import smtpd",
    "from twisted.mail import smtp": "from twistsmtp.compat import twistedmail as smtp",
}
#: What asyncore prints.
_ASYNCORE = re.compile(r"error: uncaptured python exception.*\n")


def run_python(text: str) -> "subprocess.CompletedProcess[str]":
    """Run *text* to its end."""
    return run_text(text, PYTHONWARNINGS="ignore")


def run_module(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the module *name* to its end, as ``python -m`` does."""
    return run_module_forked(name, *arguments, PYTHONWARNINGS="ignore")


def text_of(name: str, *, ours: bool) -> str:
    """The text of the program *name*, with its imports changed if it is to use *ours*."""
    text = (PROGRAMS / f"{name}.txt").read_text("utf-8")
    return "".join(_IMPORTS.get(line, line) + "\n" for line in text.splitlines()) if ours else text


def run(name: str, *, ours: bool) -> str:
    """What the program *name* prints."""
    done = run_python(text_of(name, ours=ours))
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return _ASYNCORE.sub("", done.stdout)


def expected(name: str) -> str:
    """What is to be printed."""
    return (PROGRAMS / name).read_text("utf-8")


def changes(name: str) -> list[tuple[str, str]]:
    """The differences file of program *name*: of each place the lines of the original, and ours."""
    original, ours = (expected(f"{name}.{kind}").splitlines() for kind in ("original", "expected"))
    matcher = difflib.SequenceMatcher(None, original, ours, autojunk=False)
    return [
        ("\n".join(original[a:b]), "\n".join(ours[c:d])) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"
    ]

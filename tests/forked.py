"""Programs in processes of their own, which need not start Python and import all of twistsmtp first.

One process has imported what there is to import, but for a reactor, and forks itself for each program that it is sent.
So a program finds what it would find in an interpreter that has just begun, in a few milliseconds.
"""

import atexit
import gc
import json
import os
import select
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from runpy import run_module
from tempfile import TemporaryDirectory
from typing import IO, Any

__all__ = ["run_module_forked", "run_text"]

ROOT = Path(__file__).parent.parent
#: Seconds that a program may take.
PATIENCE = 120.0

#: What is imported in advance. None of it has a reactor.
MODULES = (
    "asyncio",
    "smtplib",
    "unittest",
    "twistsmtp.compat.aiosmtpd.lmtp",
    "twistsmtp.compat.aiosmtpd.main",
    "twistsmtp.compat.smtpd",
    "twistsmtp.testing.server",
    "twisted.internet.threads",
    "twisted.internet.asyncioreactor",
    "twisted.internet.epollreactor",
    "twisted.internet.endpoints",
)


# --- in the process of the tests ---------------------------------------------------------------------------------


class _Nursery:
    """The process that forks."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.forked"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        atexit.register(self.end)

    def run(self, **request: Any) -> "subprocess.CompletedProcess[str]":
        """Have a program run to its end."""
        with TemporaryDirectory() as folder:
            request["folder"] = folder
            asked, answer = self._pipe(self.process.stdin), self._pipe(self.process.stdout)
            asked.write(json.dumps(request).encode() + b"\n")
            asked.flush()
            ended, _, _ = select.select([answer], [], [], PATIENCE)
            code = int(answer.readline() or -1) if ended else -1
            printed, said = ((Path(folder) / name).read_text("utf-8") for name in ("stdout", "stderr"))
        if not ended:
            global _nursery  # noqa: PLW0603  # the next program has another
            _nursery = None
            os.killpg(self.process.pid, 9)
            raise AssertionError(f"the program has not ended: {printed}{said}")
        return subprocess.CompletedProcess([], code, printed, said)

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        if pipe is None:
            raise TypeError("there are pipes")
        return pipe

    def end(self) -> None:
        """No more programs are to come."""
        self._pipe(self.process.stdin).close()
        self.process.wait()


_nursery: _Nursery | None = None


def _run(**request: Any) -> "subprocess.CompletedProcess[str]":
    global _nursery  # noqa: PLW0603  # there is one for all tests
    if _nursery is None:
        _nursery = _Nursery()
    return _nursery.run(**request)


def run_text(text: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run *text*, a program, to its end."""
    return _run(text=text, environment=environment)


def run_module_forked(name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the module *name* to its end, as ``python -m`` does."""
    return _run(module=name, arguments=arguments, environment=environment)


# --- in the process that forks -----------------------------------------------------------------------------------


def main() -> None:
    """Fork for each line, and say by which code its program has ended."""
    for each in MODULES:
        import_module(each)
    gc.freeze()  # a child has no need to look through all of it
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(request)
            return
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _become(request: dict[str, Any]) -> None:
    """Be the program that is wanted."""
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(f"{request['folder']}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdin.close()
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # it is for the rest of the program
    os.environ.update(request["environment"])
    if os.environ.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    if "module" in request:
        sys.argv[:] = [request["module"], *request["arguments"]]
        run_module(request["module"], run_name="__main__", alter_sys=True)
        return
    program = Path(request["folder"]) / "program.py"  # with a file, tracebacks and `inspect` have its lines
    program.write_text(request["text"], "utf-8")
    sys.argv[:] = [str(program)]
    module = type(sys)("__main__")
    module.__file__ = str(program)
    sys.modules["__main__"] = module
    exec(compile(request["text"], str(program), "exec"), vars(module))  # it is a test's


if __name__ == "__main__":
    main()

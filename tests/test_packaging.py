"""The plugin is found wherever twistsmtp is: in a wheel, in an editable install, in the repository's root.

Each installation is real: a new virtual environment that holds a copy of Twisted, as `pip install` would have
put it there, and reaches Twisted's own dependencies where this interpreter has them. Nothing is fetched.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import twisted
from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
TWISTD = "from twisted.scripts.twistd import run; run()"
PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    """Run a command and return what it said on both outputs; raise, with that text, if it fails.

    Of this process' environment, only what does not steer Python is passed on.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=kept | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise AssertionError(f"{command} failed with {done.returncode}:\n{done.stdout}")
    return done.stdout


@functools.cache
def scratch() -> Path:
    """A folder that is removed when the test run ends."""
    folder = Path(tempfile.mkdtemp(prefix="twistsmtp-packaging-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def sources() -> Path:
    """A copy of this repository as git would check it out, so that no test writes into the repository."""
    copy = scratch() / "sources"
    litter = shutil.ignore_patterns(
        ".*", "__pycache__", "dropin.cache", "_trial_temp*", "_build", "var", "dist", "build"
    )
    shutil.copytree(ROOT, copy, ignore=litter)
    return copy


@functools.cache
def wheel() -> Path:
    """The wheel, built once from the sources."""
    for tool in ("hatchling", "pip"):
        if find_spec(tool) is None:
            raise SkipTest(f"{tool} is not installed in {sys.prefix}")
    folder = scratch() / "wheel"
    run(
        sys.executable,
        *PIP,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        sources(),
        cwd=scratch(),
    )
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """A new virtual environment with Twisted in it and twistsmtp not yet."""

    def __init__(self, name: str) -> None:
        self.folder = scratch() / name
        #: Where commands are run: a folder with nothing in it that Python could import.
        self.elsewhere = scratch() / f"{name}-elsewhere"
        self.elsewhere.mkdir()
        venv.create(self.folder, symlinks=True, with_pip=False)
        self.python = self.folder / "bin" / "python"
        self.site = Path(
            run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=scratch()).strip()
        )
        origin = Path(twisted.__file__).parent
        litter = shutil.ignore_patterns("test", "__pycache__", "dropin.cache", "twistsmtp*.py")
        shutil.copytree(origin, self.site / "twisted", ignore=litter)
        # Folders named in a .pth file are searched last and their own .pth files are not read, so that the
        # twistsmtp of a developer's editable install stays out of sight.
        (self.site / "dependencies.pth").write_text("\n".join(_dependencies()))

    def install(self, *what: str | Path) -> None:
        """Install without dependencies, whatever this interpreter's own environment holds."""
        run(
            sys.executable, *PIP, "--python", self.python,
            "install", "--no-deps", "--no-build-isolation", "--ignore-installed", *what,
            cwd=scratch(),
        )  # fmt: skip

    def uninstall(self) -> None:
        """Take twistsmtp out again."""
        run(sys.executable, *PIP, "--python", self.python, "uninstall", "--yes", "twistsmtp", cwd=scratch())

    def twistd(self, *arguments: str) -> str:
        """What `twistd` says, run as its script does it: the current folder is not importable."""
        return run(self.python, "-P", "-c", TWISTD, *arguments, cwd=self.elsewhere)

    def origin(self) -> str:
        """The file that `import twistsmtp` would run, or ``None`` as text."""
        code = "import importlib.util as u; s = u.find_spec('twistsmtp'); print(s and s.origin)"
        return run(self.python, "-P", "-c", code, cwd=self.elsewhere).strip()

    def twisted_sources(self) -> set[Path]:
        """Every source file of the `twisted` package."""
        return set(self.site.joinpath("twisted").rglob("*.py"))


def _dependencies() -> set[str]:
    """The folders in which this interpreter finds what Twisted imports."""
    names = ("zope.interface", "OpenSSL", "cryptography", "idna", "service_identity", "attr", "incremental")
    specs = [find_spec(name) for name in names]
    return {
        str(Path(place).parents[name.count(".")])
        for name, spec in zip(names, specs, strict=True)
        if spec
        for place in spec.submodule_search_locations or ()
    }


def commands(text: str) -> list[str]:
    """The commands that the help of twistd or twist lists."""
    return re.findall(r"(?m)^    (\S+)", text.partition("\nCommands:\n")[2])


class WheelTests(SynchronousTestCase):
    """What is in the wheel, and what is not."""

    def test_adds_modules_and_no_packages_to_twisted(self) -> None:
        """An `__init__.py` of ours in `twisted/` or `twisted/plugins/` would overwrite Twisted's own."""
        names = zipfile.ZipFile(wheel()).namelist()
        in_twisted = [name for name in names if name.startswith("twisted/")]
        self.assertIn("twisted/plugins/twistsmtp.py", in_twisted)
        for name in in_twisted:
            self.assertRegex(name, r"\Atwisted/plugins/twistsmtp\w*\.py\Z")

    def test_holds_every_module(self) -> None:
        names = {name for name in zipfile.ZipFile(wheel()).namelist() if name.startswith("twistsmtp/")}
        files = [path for path in sources().joinpath("twistsmtp").rglob("*") if path.is_file()]
        expected = {str(path.relative_to(sources())) for path in files if path.suffix != ".pyc"}
        self.assertEqual(names, expected)

    def test_is_typed(self) -> None:
        self.assertIn("twistsmtp/py.typed", zipfile.ZipFile(wheel()).namelist())

    def test_carries_the_licence(self) -> None:
        archive = zipfile.ZipFile(wheel())
        (licence,) = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        self.assertEqual(archive.read(licence), (ROOT / "LICENSE").read_bytes())

    def test_installs_nothing_else(self) -> None:
        """No `tests`, no `docs`: those names belong to nobody."""
        tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel()).namelist()}
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        self.assertEqual(tops, {"twistsmtp", "twisted", f"twistsmtp-{project['version']}.dist-info"})


class PluginTests(SynchronousTestCase):
    """`twistd` and `twist` list the server and explain it."""

    def assert_listed(self, text: str) -> None:
        """`text` is the help of twistd or twist, with `smtp` among the commands."""
        self.assertIn("smtp", commands(text))

    def assert_explained(self, text: str) -> None:
        """`text` is the help of our own command."""
        self.assertIn("--listen", text)
        self.assertIn("--delivery", text)

    def test_from_a_wheel(self) -> None:
        """Installed beside Twisted's own plugins; and uninstalling leaves Twisted as it was."""
        built = wheel()
        environment = Environment("from-wheel")
        before = environment.twisted_sources()
        self.assertNotIn("smtp", commands(environment.twistd("--help")))
        self.assertEqual(environment.origin(), "None")

        environment.install(built)
        self.assertEqual(environment.origin(), str(environment.site / "twistsmtp" / "__init__.py"))
        self.assert_listed(environment.twistd("--help"))
        self.assert_explained(environment.twistd("smtp", "--help"))

        environment.uninstall()
        self.assertEqual(environment.twisted_sources(), before)
        self.assertEqual(environment.origin(), "None")
        self.assertNotIn("smtp", commands(environment.twistd("--help")))

    def test_from_an_editable_install(self) -> None:
        wheel()  # skips here, too, without the tools
        environment = Environment("editable")
        environment.install("--editable", sources())
        self.assertEqual(environment.origin(), str(sources() / "twistsmtp" / "__init__.py"))
        self.assert_listed(environment.twistd("--help"))
        self.assert_explained(environment.twistd("smtp", "--help"))

    def test_from_the_root_of_the_repository(self) -> None:
        """Not installed at all: `python -m twisted` there, and `twistd` with `PYTHONPATH=.`."""
        environment = Environment("from-root")
        twist = functools.partial(run, environment.python, "-m", "twisted", cwd=sources())
        self.assert_listed(twist("--help"))
        self.assert_explained(twist("smtp", "--help"))
        twistd = functools.partial(run, environment.python, "-P", "-c", TWISTD, cwd=sources(), PYTHONPATH=".")
        self.assert_listed(twistd("--help"))
        self.assert_explained(twistd("smtp", "--help"))

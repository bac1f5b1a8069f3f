"""The command that keeps accounts in a file."""

import getpass
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.checkers.kit import MADE, PASSWORD, SCRAM_256, SHA1, need
from twistsmtp import passwd
from twistsmtp.checkers.accounts import parse_accounts, prepared_name

ROOT = Path(__file__).resolve().parent.parent
#: No hash of this takes a library.
QUICK = ("--scheme", "scram-sha-1")


class CommandCase(SynchronousTestCase):
    """A file in a folder of its own, and somebody at the keyboard."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "users"
        self.typed: list[str] = []
        self.patch(getpass, "getpass", self.type)

    def type(self, prompt: str) -> str:
        return self.typed.pop(0)

    def command(
        self, *arguments: str, typed: str | tuple[str, ...] = PASSWORD, stdin: str = ""
    ) -> tuple[int, str, str]:
        """The exit status of the command, what it wrote and what it complained of."""
        self.typed = [typed, typed] if isinstance(typed, str) else list(typed)
        out, err = io.StringIO(), io.StringIO()
        for name, stream in (("stdin", io.StringIO(stdin)), ("stdout", out), ("stderr", err)):
            self.patch(sys, name, stream)
        status = passwd.main(
            [arguments[0], str(self.path), *arguments[1:]] if arguments[0] == "--list" else [str(self.path), *arguments]
        )
        for secret in (PASSWORD, *self.typed):
            self.assertNotIn(secret, out.getvalue() + err.getvalue())
        return status, out.getvalue(), err.getvalue()

    def schemes(self, user: str = "ada") -> list[str]:
        account = parse_accounts(self.path.read_bytes()).find(user)
        return [each.scheme for each in account.verifiers] if account else []

    def fails(self, *arguments: str, typed: str | tuple[str, ...] = PASSWORD, stdin: str = "") -> str:
        """Why the command fails, in one line, while it changes nothing."""
        before = self.path.read_bytes() if self.path.exists() else None
        status, out, err = self.command(*arguments, typed=typed, stdin=stdin)
        self.assertEqual((1, ""), (status, out))
        self.assertEqual(before, self.path.read_bytes() if self.path.exists() else None)
        self.assertEqual(([], 1), ([name for name in os.listdir(self.folder) if name != "users"], err.count("\n")))
        return err.removeprefix("twistsmtp.passwd: ").rstrip("\n")


class WriteTests(CommandCase):
    def test_new(self) -> None:
        """The file is made, for its owner alone; the password works with all that is kept of it."""
        need("argon2")
        self.assertEqual((0, "ada is written\n", ""), self.command("ada"))
        self.assertEqual(0o600, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual(["argon2", "scram-sha-256"], self.schemes())
        for each in parse_accounts(self.path.read_bytes()):
            for verifier in each.verifiers:
                self.assertTrue(verifier.verify(PASSWORD))
                self.assertFalse(verifier.verify(PASSWORD + "x"))
        self.assertEqual(["users"], os.listdir(self.folder))

    def test_without_argon2(self) -> None:
        """Then SCRAM keys are kept, which takes no library; asked for by name, it is an error."""
        self.patch(sys, "modules", {**sys.modules, "argon2": None})
        self.command("ada")
        self.assertEqual(["scram-sha-256"], self.schemes())
        self.assertIn("twistsmtp[argon2]", self.fails("ada", "--scheme", "argon2"))

    def test_schemes(self) -> None:
        need("bcrypt")
        self.command("ada", *QUICK, "--scheme", "bcrypt", *QUICK)
        self.assertEqual(["scram-sha-1", "bcrypt"], self.schemes())
        for each in parse_accounts(self.path.read_bytes()):
            self.assertTrue(all(verifier.verify(PASSWORD) for verifier in each.verifiers))

    def test_change(self) -> None:
        """No old hash of the user is left, and all else stays as and where it is."""
        old = (
            f"# ours\nbob:{SHA1}:1:2\nada:{SHA1}:1000:\u00e9:/home/ada\r\n\nbroken\nada:{SCRAM_256}\nada b:{SHA1}\n"
        ).encode() + b"\xff:x\n#ada:x"
        self.path.write_bytes(old)
        self.command("ada", *QUICK, "--scheme", "scram-sha-256")
        lines = self.path.read_bytes().split(b"\n")
        self.assertEqual([*old.split(b"\n")[:2]], lines[:2])
        self.assertTrue(lines[2].startswith(b"ada:{SCRAM-SHA-1}15000,"))
        self.assertTrue(lines[2].endswith("=:1000:\u00e9:/home/ada".encode()))
        self.assertTrue(lines[3].startswith(b"ada:{SCRAM-SHA-256}15000,"))
        self.assertEqual([b"", b"broken", f"ada b:{SHA1}".encode(), b"\xff:x", b"#ada:x", b""], lines[4:])

    def test_change_postgresql(self) -> None:
        """Colons of a hash do not begin the fields behind it."""
        self.path.write_text(f"ada:{MADE['create role ... password (PostgreSQL)'][1]}:x\n")
        self.command("ada", *QUICK)
        [line] = self.path.read_text().splitlines()
        self.assertEqual(["=", "x"], [line.split(":")[1][-1], line.split(":")[2]])

    def test_salt(self) -> None:
        """Two users with one password cannot be told to have it."""
        self.command("ada", *QUICK)
        self.command("bob", *QUICK)
        first, second = self.path.read_text().splitlines()
        self.assertNotEqual(first.removeprefix("ada"), second.removeprefix("bob"))

    def test_mode_and_owner(self) -> None:
        """They stay what they were."""
        self.path.touch(mode=0o640)
        os.chmod(self.path, 0o640)
        owner = (0, 0)
        if not os.geteuid():
            owner = (12, 34)
            os.chown(self.path, *owner)
        before = self.path.stat()
        self.command("ada", *QUICK)
        after = self.path.stat()
        self.assertEqual(
            (0o640, before.st_uid, before.st_gid), (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid)
        )
        self.assertNotEqual(before.st_ino, after.st_ino)

    def test_symbolic_link(self) -> None:
        """It stays one."""
        real = self.folder / "real"
        real.touch()
        self.path.symlink_to("real")
        self.command("ada", *QUICK)
        self.assertTrue(self.path.is_symlink())
        self.assertIn("ada:", real.read_text())

    def test_names(self) -> None:
        self.command("Ame\u0301lie", *QUICK)
        self.command("Am\u00e9lie", *QUICK)
        self.assertEqual(1, self.path.read_text().count("\n"))
        self.assertTrue(self.path.read_text().startswith("Am\u00e9lie:"))
        for name in ("", "a:b", "#ada", " #ada", "a\nb", "\u202e"):
            self.assertIn("a user's name is needed", self.fails(name))

    def test_interrupted(self) -> None:
        """If it cannot be finished, the old file is there and nothing else."""
        self.path.write_text(f"bob:{SHA1}\n")

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        for name in ("fsync", "rename"):
            patch = self.patch(os, name, fail)
            self.assertIn("No space left on device", self.fails("ada", *QUICK))
            patch.restore()

    def test_no_folder(self) -> None:
        self.path = self.folder / "nowhere" / "users"
        status, _, err = self.command("ada", *QUICK)
        self.assertEqual(1, status)
        self.assertIn("No such file or directory", err)

    @settings(max_examples=50)  # each is synced to the disk
    @given(
        st.lists(st.sampled_from([f"ada:{SHA1}:x", f"bob:{SCRAM_256}", "# c", "", "junk", f" ada:{SHA1}"]), max_size=6),
        st.sampled_from(["", "\n"]),
    )
    def test_others(self, lines: list[str], end: str) -> None:
        """Whatever the file has, the user's lines are one at the end and the others are what they were."""
        self.path.write_text("\n".join(lines) + end)
        before = [line for line in self.path.read_text().splitlines() if not line.startswith("ada:")]
        self.assertEqual(0, self.command("ada", *QUICK)[0])
        after = self.path.read_text().splitlines()
        self.assertEqual(before, [line for line in after if not line.startswith("ada:")])
        self.assertEqual(1, sum(line.startswith("ada:") for line in after))


class NoFileTests(CommandCase):
    def test_what_is_no_file_stays_what_it_is(self) -> None:
        os.mkfifo(self.path)
        status, _, complaint = self.command("ada")
        self.assertEqual((status, complaint), (1, f"twistsmtp.passwd: {self.path} is no file\n"))
        self.assertTrue(self.path.is_fifo())


class PasswordTests(CommandCase):
    def test_stdin(self) -> None:
        """The first line, without its end."""
        self.command("ada", "--stdin", *QUICK, stdin=f"{PASSWORD}\r\nmore\n", typed=())
        self.assertEqual(0, self.command("ada", "--check", "--stdin", stdin=PASSWORD, typed=())[0])

    def test_prepared(self) -> None:
        """What is kept is what clients send, however it was typed."""
        self.command("ada", *QUICK, typed="pa\u0308sswo\u0308rd\u00ad")
        self.assertEqual(0, self.command("ada", "--check", typed="p\u00e4ssw\u00f6rd")[0])

    def test_refused(self) -> None:
        self.assertEqual("these are two passwords", self.fails("ada", typed=("one", "two")))
        for password in ("", "x" * 1025):
            self.assertIn("1 to 1024 octets", self.fails("ada", "--stdin", stdin=password, typed=()))
        for password in ("a\x07", "a\u202e", "\U0001f511"):  # the last is newer than SASLprep
            self.assertIn("characters", self.fails("ada", typed=password))

    def test_too_long_for_bcrypt(self) -> None:
        need("bcrypt")
        self.assertIn("at most 72", self.fails("ada", "--scheme", "bcrypt", typed="x" * 73))

    def test_given_up(self) -> None:
        """Control-C, or the end of the input, where the password is asked for."""
        for kind in (KeyboardInterrupt, EOFError):

            def give_up(prompt: str, error: type[BaseException] = kind) -> str:
                raise error

            self.patch(getpass, "getpass", give_up)
            self.assertEqual("nothing is changed", self.fails("ada"))


class OtherActionsTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.path.write_text(f"# ours\nada:{SHA1}\nbob:{SHA1}:x\nada:{SCRAM_256}\n")

    def test_delete(self) -> None:
        self.assertEqual((0, "ada is removed\n", ""), self.command("ada", "--delete"))
        self.assertEqual(f"# ours\nbob:{SHA1}:x\n", self.path.read_text())
        self.assertEqual("there is no ada", self.fails("ada", "--delete"))

    def test_delete_last(self) -> None:
        self.path.write_text(f"ada:{SHA1}\n")
        self.command("ada", "--delete")
        self.assertEqual("", self.path.read_text())

    def test_check(self) -> None:
        self.assertEqual((0, "right\n", ""), self.command("ada", "--check"))
        self.assertEqual((1, "wrong\n", ""), self.command("ada", "--check", typed="x" * 9))
        self.assertEqual((1, "wrong\n", ""), self.command("eve", "--check"))

    def test_list(self) -> None:
        self.assertEqual((0, "ada: sha1, scram-sha-256\nbob: sha1\n", ""), self.command("--list"))

    def test_broken(self) -> None:
        """A file that cannot be read is named, with the lines that are wrong."""
        self.path.write_text("ada:hunter2\n")
        for arguments in (("--list",), ("ada", "--check")):
            problem = self.fails(*arguments)
            self.assertTrue(problem.endswith("users: line 1: no hash of a known kind"), problem)

    def test_missing(self) -> None:
        self.path.unlink()
        for arguments in (("--list",), ("ada", "--check"), ("ada", "--delete")):
            self.assertIn("No such file or directory", self.fails(*arguments))


class ProcessTests(CommandCase):
    """The command itself."""

    def run_command(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "twistsmtp.passwd", str(self.path), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def test_command(self) -> None:
        done = self.run_command("ada", "--stdin", *QUICK, stdin=PASSWORD + "\n")
        self.assertEqual((0, "ada is written\n", ""), (done.returncode, done.stdout, done.stderr))
        self.assertEqual(["scram-sha-1"], self.schemes())
        done = self.run_command("ada", "--stdin", "--check", stdin="x\n")
        self.assertEqual((1, "wrong\n", ""), (done.returncode, done.stdout, done.stderr))

    def test_together(self) -> None:
        """Several at once lose nothing of each other's."""
        names = [f"user{number}" for number in range(4)]
        command = [sys.executable, "-m", "twistsmtp.passwd", str(self.path), "--stdin", *QUICK]
        running = [
            subprocess.Popen(
                [*command, name],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
            for name in names
        ]
        for each in running:
            each.communicate(PASSWORD, timeout=120)
        self.assertEqual([0] * 4, [each.returncode for each in running])
        self.assertEqual(names, sorted(each.name for each in parse_accounts(self.path.read_bytes())))


class NameTests(SynchronousTestCase):
    def test_schemes(self) -> None:
        """What the command calls a scheme is what the checker calls it."""
        makes: dict[str, Callable[[str], str]] = dict(passwd.SCHEMES)
        need("argon2", "bcrypt")
        for name, make in makes.items():
            [account] = parse_accounts(f"ada:{make(PASSWORD)}".encode())
            self.assertEqual([name], [each.scheme for each in account.verifiers])
        self.assertEqual("ada", prepared_name("ada"))

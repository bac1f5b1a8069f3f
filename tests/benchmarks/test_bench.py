"""`bench.py`, as it is run."""

from pathlib import Path

from benchmarks.report import Report
from tests.benchmarks.kit import LoadTestCase, run_script


class BenchTests(LoadTestCase):
    """`bench.py`, as it is run."""

    async def test_this_server(self) -> None:
        """It measures this server without the peers, but for Postfix, if that can be had."""
        file = Path(self.mktemp()).absolute()
        options = ["--parts", "accept,durable", "--only", "twistsmtp", "--work", "new,kept", "--reps", "2"]
        done = await run_script("bench.py", *options, "--messages", "50", "--json", str(file))
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stdout, r"kept: 1 KB on .*; 2 repetitions\n.*\n  twistsmtp .* 1\.00 ")
        report = Report.read(file)
        order = [(run.repetition, run.workload) for run in report.accept]
        self.assertEqual([(0, "kept"), (0, "new"), (1, "kept"), (1, "new")], order)
        keepers = {"twistsmtp"} if "postfix" in report.left_out else {"twistsmtp", "postfix"}
        self.assertEqual(keepers, {run.server for run in report.durable})
        self.assertEqual(len(order) * len(keepers), len(report.durable))
        for run in (*report.accept, *report.durable):
            self.assertEqual((50, 1_000), (run.messages, run.octets))
            self.assertGreater(run.seconds, 0)
            self.assertGreater(run.peak_memory, 1)

    async def test_names(self) -> None:
        """A name that is none is said."""
        for option, known in (("--only", "aiosmtpd"), ("--work", "kept")):
            done = await run_script("bench.py", option, f"{known},sendmail")
            self.assertEqual(2, done.returncode)
            self.assertIn(f"argument {option}: sendmail: not one of ", done.stderr)

"""What was measured is kept as it is, and shown in tables; what the documentation shows belongs together."""

import json
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.plots import PLOTS, digest
from benchmarks.report import Crowd, Delay, Footprint, Report, Run, Soak
from benchmarks.tables import TABLES, Table, details
from tests.benchmarks.kit import ROOT

RUN = Run("kept", "ours", 0, 2_000, 1_000, 4.0, 1.0, 0.5, 0.4, 30.0, 31.0)
COSTS = {"ours": (1.0, 2.0, 4.0), "theirs": (3.0, 8.0, 8.0)}
RUNS = [
    replace(RUN, server=server, repetition=repetition, server_cpu=cpu)
    for server, each in COSTS.items()
    for repetition, cpu in enumerate(each)
]
REPORT = Report(
    {"date": "today"},
    {"other": "it is not installed"},
    accept=RUNS,
    latency=[
        Delay("ours", False, 500, 5_000, 0.25, [0.001, 0.0125, 0.5, 1.0]),
        Delay("ours", False, 1_000, 10_000, 0.5, [0.002, 0.003, 0.004, 0.005]),
        Delay("theirs", False, 500, 5_000, 0.9, []),
    ],
    memory=[
        Footprint("a:", 1_000, 10, 20.0, 21.0),
        Footprint("a:", 100_000, 10, 20.0, 23.5),
        Footprint("b:", 1_000, 10, 20.0, 30.0),
    ],
    idle=[Crowd("ours", 1_024, 50.0, 54.0)],
    soak=[Soak(1_000_000, 100, 60.0, 50.0, [50.0, 51.0, 51.5, 51.25, 51.5])],
)


class TableTests(SynchronousTestCase):
    """The tables."""

    def rows(self, name: str, report: Report = REPORT) -> list[list[str]]:
        table = TABLES[name](report)
        assert table is not None
        self.assertEqual({len(table.heads)}, {len(row) for row in table.rows})
        return [list(row) for row in table.rows]

    def test_details(self) -> None:
        """A ratio is that of two runs of the same repetition; the median of them is shown, and both ends."""
        [table] = details(RUNS)
        self.assertEqual("kept: 1 KB on 20 kept connections; 3 repetitions", table.title)
        self.assertEqual(
            ["ours 1.0000 1.00 1.00-1.00 500 0.5 30.0 31.0", "theirs 4.0000 3.00 2.00-4.00 500 0.5 30.0 31.0"],
            [" ".join(row) for row in table.rows],
        )
        self.assertEqual("meanwhile other processes took 10% of a processor", table.note)

    def test_no_time_at_all(self) -> None:
        """A run that took less than can be measured has no ratio."""
        [table] = details([replace(RUN, server_cpu=0.0)])
        self.assertEqual(("-", "-"), tuple(table.rows[0][2:4]))

    def test_ratios_and_costs(self) -> None:
        """A row for each workload; a peer that did not take it has none there."""
        other = replace(RUN, workload="starttls")
        report = replace(REPORT, accept=[*RUNS, other])
        self.assertEqual(["3.00 (2.00-4.00)", "-"], [row[1] for row in self.rows("ratios", report)])
        self.assertEqual([["kept", "1 s, 500/s", "4 s, 500/s"]], self.rows("costs"))
        self.assertEqual(["starttls", "0.5 s, 500/s", "-"], self.rows("costs", report)[1])

    def test_latency(self) -> None:
        """Milliseconds; what a server did not keep up with, and was not asked after that, is too much."""
        self.assertEqual(
            [["500", "1 / 12.5 / 500", "too much"], ["1,000", "2 / 3 / 4", "too much"]], self.rows("latency")
        )
        self.assertIsNone(TABLES["durable-latency"](REPORT))

    def test_latency_of_repetitions(self) -> None:
        """The medians of those that kept up, if more than half did."""
        first, _, none = REPORT.latency
        delays = [
            *(replace(first, latency=[n / 1000] * 4, repetition=n) for n in (1, 2, 9)),
            replace(first, latency=[], repetition=0),
            *(replace(none, latency=[0.001] * 4, repetition=n) for n in (0, 1)),
            *(replace(none, repetition=n) for n in (2, 9)),
        ]
        delays = [replace(delay, repetition=min(delay.repetition, 3)) for delay in delays]
        self.assertEqual([["500", "2 / 2 / 2", "too much"]], self.rows("latency", replace(REPORT, latency=delays)))

    def test_memory(self) -> None:
        """Growth is over the first size of the same delivery, and over the first fifth; a connection's share in KiB."""
        self.assertEqual(["+0.0", "+2.5", "+0.0"], [row[-1] for row in self.rows("memory")])
        self.assertEqual([["ours", "1,024", "50.0", "54.0", "4.0"]], self.rows("idle"))
        self.assertEqual("+0.50", self.rows("soak")[0][-1])

    def test_lines(self) -> None:
        """Columns have the width of their widest cell; the first is on the left."""
        table = Table("A title", ("", "n"), [("one", "1"), ("three", "1,000")], "a note")
        self.assertEqual(
            ["A title", "             n", "  one        1", "  three  1,000", "  a note", ""], list(table.lines())
        )


class FileTests(SynchronousTestCase):
    """`Report.write` and `Report.read`."""

    def test_round_trip(self) -> None:
        """What is read is what was written; each measurement has a line."""
        file = Path(self.mktemp()) / "report.json"
        REPORT.write(file)
        self.assertEqual(REPORT, replace(Report.read(file), durable=()))
        self.assertEqual(len(RUNS), file.read_text().count('"workload"'))
        self.assertEqual(set(json.loads(file.read_text())), set(Report.__slots__))


class FiguresTests(SynchronousTestCase):
    """What the documentation shows."""

    def test_plots(self) -> None:
        """They are drawn from the measurements beside them."""
        folder = ROOT / "docs" / "figures"
        for name in PLOTS:
            self.assertIn(digest(folder), (folder / name).read_text())

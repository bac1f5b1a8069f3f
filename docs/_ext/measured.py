"""A directive, ``measured``, whose content is what ``make bench`` and ``make soak`` have written.

``.. measured:: NAME`` is the table of that name, as the programs print it; ``.. measured:: facts`` says when and where
it was measured, and who was left out; ``.. measured:: plots`` is for the plots, which have to be drawn from the same
measurements. So no figure can be older than those beside it.
"""

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes  # type: ignore[import-untyped]  # its stubs are no tool of ours
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from benchmarks.plots import MEASUREMENTS, PLOTS, digest
from benchmarks.report import Report, meanwhile
from benchmarks.tables import TABLES
from restructured import escaped, list_table

__all__ = ["setup"]

FIGURES = Path(__file__).resolve().parent.parent / "figures"
#: Where a table is not of `MEASUREMENTS`.
OTHERS = {"soak": "soak.json"}


class Measured(SphinxDirective):
    """What was measured."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The content, parsed."""
        (name,) = self.arguments
        file = FIGURES / OTHERS.get(name, MEASUREMENTS)
        self.env.note_dependency(str(file))
        report = Report.read(file)
        if name == "facts":
            lines = facts(report)
        elif name == "plots":
            lines = self.plots()
        elif name in TABLES and (table := TABLES[name](report)):
            heads, *rows = (tuple(map(escaped, row)) for row in (table.heads, *table.rows))
            lines = list_table(heads, rows)
        else:
            raise self.error(f"{file.name} has no {name}")
        return self.parse_text_to_nodes("\n".join(lines) + "\n")

    def plots(self) -> Iterator[str]:
        """The plots, if they are drawn from these measurements."""
        for name in PLOTS:
            self.env.note_dependency(str(FIGURES / name))
            if digest(FIGURES) not in (FIGURES / name).read_text():
                raise self.error(f"{name} was not drawn from {MEASUREMENTS}")
            yield from (f".. image:: /figures/{name}", "   :width: 100%", f"   :alt: {PLOTS[name]}", "")


def facts(report: Report) -> Iterator[str]:
    """When, where and with what; and who took no part."""
    where = ", ".join(f"{name} {value}" for name, value in report.facts.items() if name != "date")
    yield f"Measured on {report.facts['date']} ({where}); {meanwhile(report.accept)}."
    for name, reason in report.left_out.items():
        yield f"{name} is left out, because {reason}."


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx calls this."""
    app.add_directive("measured", Measured)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

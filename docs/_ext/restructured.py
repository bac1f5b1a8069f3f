"""What the directives write as reStructuredText."""

import re
from collections.abc import Iterable, Iterator

__all__ = ["escaped", "list_table"]


def list_table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, widths: str = "") -> Iterator[str]:
    """A ``list-table``, line by line. A row that is too short is an error where it is parsed.

    :param widths: of the columns, in percent; without them all are as wide.
    """
    yield from (".. list-table::", "   :header-rows: 1", *([f"   :widths: {widths}"] if widths else ()), "")
    for row in (heads, *rows):
        yield f"   * - {row[0]}"
        yield from (f"     - {cell}" for cell in row[1:])


def escaped(text: str) -> str:
    """Text that means nothing to reStructuredText."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)

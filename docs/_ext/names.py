"""What a name in single backticks leads to, and where each name of the code is documented.

A docstring names things as its module does: `Refusal`, whatever module that is from. Where such a name is the end
of one full name only, it leads there; where there are several or none, it stays as it is. And what a module only
passes on is documented where it is made, once.
"""

import inspect
from enum import Enum
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]  # its stubs are no tool of ours
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """A link to the one object whose full name ends with what *node* has."""
    if node["refdomain"] != "py" or node["reftype"] != "obj":
        return None
    objects = env.domains.python_domain.objects
    found = [name for name in objects if name.endswith("." + node["reftarget"]) and not objects[name].aliased]
    if len(found) != 1:
        return None
    target = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], target.docname, target.node_id, text, found[0])


def _skip(app: Sphinx, what: str, name: str, obj: Any, *_: Any) -> bool | None:
    """Leave out what another module of ours makes; ``None`` leaves it to autodoc."""
    home = getattr(obj, "__module__", None) if inspect.isclass(obj) or inspect.isroutine(obj) else None
    here = app.env.current_document.autodoc_module
    elsewhere = what == "module" and isinstance(home, str) and home.startswith("twistsmtp.") and home != here
    return True if elsewhere else None


def _signature(app: Sphinx, what: str, name: str, obj: Any, *_: Any) -> tuple[str, None] | None:
    """A class that nobody calls, a contract or an enumeration, has no signature."""
    called = what == "class" and not getattr(obj, "_is_protocol", False) and not issubclass(obj, Enum)
    return None if called or what != "class" else ("", None)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx calls this."""
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-signature", _signature)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

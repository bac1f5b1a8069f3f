"""How Sphinx builds this documentation: ``make docs``. Nothing is fetched, and a warning is an error."""

import sys
import tomllib
from pathlib import Path

_docs = Path(__file__).parent
# This checkout is documented, not whatever else is installed.
sys.path[:0] = [str(_docs.parent), str(_docs / "_ext")]

_project = tomllib.loads(_docs.parent.joinpath("pyproject.toml").read_text())["project"]

project = _project["name"]
author = _project["authors"][0]["name"]
copyright = f"2026, {author}"
release = version = _project["version"]

extensions = ["sphinx.ext.autodoc", "compared", "generated", "measured", "names"]
exclude_patterns = ["_build"]

# In a docstring, single backticks name something of the code: of this module, of another, or of Twisted.
default_role = "py:obj"
# Names of the standard library and of Twisted lead nowhere unless their inventories are fetched.
nitpicky = False

autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "__weakref__"}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False

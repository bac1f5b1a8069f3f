"""How Sphinx builds this documentation: ``make docs``. Nothing is fetched, and a warning is an error."""

import tomllib
from pathlib import Path

_project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text())["project"]

project = _project["name"]
author = _project["authors"][0]["name"]
copyright = f"2026, {author}"
release = version = _project["version"]

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# Names of the standard library and of Twisted lead nowhere unless their inventories are fetched.
nitpicky = False

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False

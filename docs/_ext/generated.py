"""Directives whose content is taken from the code, so that it cannot say anything else than the code does.

``verbs``, ``limits``, ``settings``, ``deliveries``, ``parameters``, ``honoured`` and ``policies`` take nothing.
``replies`` takes a list of fields that says what each refusal of the catalogue means, by name; a refusal that is not
explained, or that there is not, is an error.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from enum import Enum

from docutils import nodes  # type: ignore[import-untyped]  # its stubs are no tool of ours
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata
from twisted.python.reflect import namedAny

from restructured import escaped, list_table
from twistsmtp.delivery.api import Delivery
from twistsmtp.delivery.branches import Several
from twistsmtp.delivery.find import DeliveryMaker, delivery_makers
from twistsmtp.delivery.route import Route
from twistsmtp.delivery.tee import Tee
from twistsmtp.extensions import load_extensions
from twistsmtp.limits import Limits
from twistsmtp.policy.find import policy_makers
from twistsmtp.settings import SETTINGS, Setting
from twistsmtp.values import DURATION, FLAG, SIZE
from twistsmtp.verb import Registry
from twistsmtp.verbs import CORE
from twistsmtp.wire.grammar import PathLimits
from twistsmtp.wire.reply import Catalogue

__all__ = ["setup"]


class Verbs(SphinxDirective):
    """The table of verbs and extensions, as ``--print-verbs`` prints it."""

    def run(self) -> list[nodes.Node]:
        """The table, as it is printed."""
        table = Registry(CORE, load_extensions()).table()
        return [nodes.literal_block(table, table, language="text")]


class Written(SphinxDirective):
    """Content that is easiest written as reStructuredText."""

    def lines(self) -> Iterable[str]:
        """The content, line by line."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """The content, parsed."""
        return self.parse_text_to_nodes("\n".join(self.lines()) + "\n")


class Settings(Written):
    """What the command line takes, as ``--help`` explains it."""

    def lines(self) -> Iterator[str]:
        """An ``option`` for each setting."""
        yield from (".. program:: twistd smtp", "")
        for setting in SETTINGS:
            yield from (f".. option:: --{setting.name} {setting.kind.metavar}".rstrip(), "")
            yield from (f"   {escaped(setting.help)}", "")
            yield from (f"   {_usage(setting)}", "")


class LimitsTable(Written):
    """The limits: the names that a configuration file has for them, their defaults, and what they are."""

    def lines(self) -> Iterator[str]:
        """A row for each limit."""
        rows = [*_limits(Limits(), "limits"), *_limits(PathLimits(), "limits.path")]
        yield from list_table(("Setting", "Default", "What it is"), rows, widths="30 14 56")


class Replies(Written):
    """The refusals of the catalogue, each with what its name in the directive's content says of it."""

    has_content = True

    def lines(self) -> Iterator[str]:
        """A row for each refusal."""
        meanings = dict(re.findall(r"^:(\w+): *(.+(?:\n +.+)*)", "\n".join(self.content), re.MULTILINE))
        rows = []
        for field in fields(Catalogue):
            reply = getattr(Catalogue(), field.name)
            if not reply.positive:
                meaning = " ".join(meanings.pop(field.name, "").split())
                if not meaning:
                    raise self.error(f"the refusal {field.name} is not explained")
                rows.append((f"``{reply}``", f"``{field.name}``", meaning))
        if meanings:
            raise self.error(f"the catalogue has no refusal {', '.join(meanings)}")
        yield from list_table(
            ("Reply", "Name in the catalogue", "What it means, and what to do"), rows, widths="38 18 44"
        )


class Deliveries(Written):
    """The deliveries that the command line knows by name."""

    def lines(self) -> Iterator[str]:
        """A row for each delivery."""
        rows = [(f"``{maker.synopsis}``", escaped(maker.help)) for maker in delivery_makers()]
        yield from list_table(("Form", "What it does with mail"), rows, widths="40 60")


class Parameters(Written):
    """The parameters of MAIL and RCPT, and by which keys their values are found."""

    def lines(self) -> Iterator[str]:
        """A row for each parameter."""
        rows = []
        for extension in load_extensions():
            for verb, parameters in ("MAIL", extension.mail_parameters), ("RCPT", extension.rcpt_parameters):
                for each in parameters:
                    key = f"{load_extensions.__module__}.{extension.name}.{each.keyword.replace('-', '_')}"
                    if namedAny(key).keyword != each.keyword:
                        raise self.error(f"{key} is the key of another parameter")
                    value = _type(inspect.signature(each.parse).return_annotation)
                    rows.append((f"``{each.keyword}`` of {verb}", f"`{key}`", value, _default(each.default)))
        yield from list_table(("Parameter", "Key", "Value", "Where it was not said"), rows, widths="22 38 20 20")


class Honoured(Written):
    """What each delivery does about the extensions that are up to it."""

    def lines(self) -> Iterator[str]:
        """A row for each that the command line knows by name, and for those that stand for several."""
        makers = [each for each in delivery_makers() if isinstance(each, DeliveryMaker)]
        kinds = [(f"``{each.name}:``", namedAny(each.function.removesuffix(".from_options"))) for each in makers]
        kinds += [("several deliveries", Tee), ("``[route]``", Route)]
        rows = ((name, _honoured(kind), _answered(kind)) for name, kind in kinds)
        yield from list_table(("Delivery", "Honours", "Answers"), rows, widths="22 58 20")


class Policies(Written):
    """The policies that the command line knows by name."""

    def lines(self) -> Iterator[str]:
        """A row for each policy."""
        rows = [(f"``{maker.synopsis}``", escaped(maker.help)) for maker in policy_makers()]
        yield from list_table(("Form", "What it does"), rows, widths="40 60")


def _type(annotation: object) -> str:
    return f"``{re.sub(r'[a-z0-9_.]+[.](?=[A-Z])', '', inspect.formatannotation(annotation))}``"


def _default(value: object) -> str:
    return f"``{type(value).__name__}.{value.name}``" if isinstance(value, Enum) else f"``{value}``"


def _honoured(kind: type[Delivery]) -> str:
    if issubclass(kind, Several):
        return "what all of them do"
    honours: object = kind.honours
    if isinstance(honours, property):
        return inspect.getdoc(honours) or ""
    return ", ".join(f"``{name}``" for name in sorted(kind.honours)) or "none"


def _answered(kind: type[Delivery]) -> str:
    if issubclass(kind, Several):
        return "what one of them does"
    methods = {"verify": "VRFY", "expand": "EXPN", "run_queue": "ETRN"}
    return ", ".join(verb for method, verb in methods.items() if hasattr(kind, method)) or "none"


def _usage(setting: Setting) -> str:
    example = "" if setting.kind is FLAG else f"For example ``--{setting.name} {setting.example}``. "
    return f"{example}Default: {escaped(setting.default)}."


def _limits(limits: Limits | PathLimits, table: str) -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each field of *limits* that is a setting."""
    owner = type(limits)
    comments = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
    parameters = dict(re.findall(r":param (\w+): (.+)", owner.__doc__ or ""))
    for field in fields(limits):
        value = getattr(limits, field.name)
        if field.init and not isinstance(value, PathLimits):
            comment = " ".join(comments.get((owner.__name__, field.name), ())).strip()
            name = f"{table}.{field.name.replace('_', '-')}"
            yield f"``{name}``", _shown(value), comment or parameters[field.name]


def _shown(value: object) -> str:
    if isinstance(value, Enum):
        return f"``{value.value}``"
    if isinstance(value, frozenset):
        return " ".join(f"``{each}``" for each in sorted(value))
    if isinstance(value, float):
        return f"``{DURATION.show(value)}``"
    return f"``{SIZE.show(value)}``" if isinstance(value, int) and value >= 2**16 else f"``{value}``"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx calls this."""
    app.add_directive("verbs", Verbs)
    app.add_directive("settings", Settings)
    app.add_directive("limits", LimitsTable)
    app.add_directive("replies", Replies)
    app.add_directive("deliveries", Deliveries)
    app.add_directive("parameters", Parameters)
    app.add_directive("honoured", Honoured)
    app.add_directive("policies", Policies)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

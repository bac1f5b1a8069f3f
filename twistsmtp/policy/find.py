r"""Policies by name: what ``--policy rate:messages=100/h`` means.

The string is read as `twistsmtp.makers` says. Every policy has the option ``on_failure`` besides its own: ``defer``
or ``pass``. Anybody can add one: a file ``twisted/plugins/NAME.py`` in a package of their own, with no ``__init__.py``
beside it, and in it::

    from twistsmtp.policy.find import PolicyMaker

    office_hours = PolicyMaker(
        name="office-hours",
        synopsis="office-hours:FROM:TO",
        help="takes mail at some hours only: office-hours:9:17",
        function="mypackage.policies.make_office_hours",
    )

The function is imported when somebody asks for it. It takes the parts of the string as text, its options by keyword;
what does not fit its signature is refused before it is called.
"""

from dataclasses import dataclass

from twisted.plugin import IPlugin, getPlugins
from zope.interface import Attribute, Interface, implementer

from twistsmtp.makers import LazyMaker, made_by_name
from twistsmtp.policy.api import Policy

__all__ = ["IPolicyMaker", "PolicyMaker", "make_policy", "policy_makers"]


class IPolicyMaker(Interface):
    """A plugin that makes policies of one kind."""

    name: str = Attribute("The first part of the string: ``rate``.")
    synopsis: str = Attribute("The form of the string: ``helo[:strict=yes]``.")
    help: str = Attribute("What it refuses, and an example, in one line.")

    def make(*args: str, **options: str) -> Policy:
        """The policy for the parts of a string behind its name.

        :raises ValueError: they are wrong; its text, one line, tells the user how.
        """


@implementer(IPlugin, IPolicyMaker)
@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyMaker(LazyMaker):
    """A `LazyMaker` of policies."""

    def make(self, *args: str, **options: str) -> Policy:
        """What the function makes of the parts of a string.

        :raises ValueError: they do not fit it or it refuses them, or something that it needs is not installed.
        """
        on_failure = options.pop("on_failure", None)
        policy: Policy = LazyMaker.make(self, *args, **options)
        if on_failure is not None:
            if on_failure not in ("defer", "pass"):
                raise ValueError(f"on_failure is defer or pass, not {on_failure!r}")
            policy.on_failure = on_failure  # type: ignore[assignment]  # one of the two
        return policy


def policy_makers() -> list[IPolicyMaker]:
    """All makers there are, by name."""
    return sorted(getPlugins(IPolicyMaker), key=lambda maker: maker.name)


def make_policy(text: str) -> Policy:
    """The policy that *text* names.

    :raises ValueError: there is none of that name, or the rest of *text* is wrong; its text, one line, says what.
    """
    policy: Policy = made_by_name("policy", text, policy_makers())
    return policy

"""What a running server takes up of a configuration that has changed, and what has to wait for a restart.

What holds for new connections alone is taken up: nobody who is connected notices.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

from twisted.logger import Logger

from twistsmtp.config import Config
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.policy.relay import RelayRule
from twistsmtp.settings import SETTINGS

__all__ = ["TAKEN_UP", "take_up"]

_log = Logger(namespace="twistsmtp.service")

#: Fields of `Config` that hold for the connections that come when they have changed.
TAKEN_UP = frozenset({"domains", "drain_time", "limits", "relay_authenticated", "strict_greeting"})

_NAMES = {each.target: each.name for each in SETTINGS}


def take_up(new: Config, old: Config, factories: Iterable[SMTPFactory]) -> Config:
    """Have *factories* serve by *new* as far as a running server can, and log what that is, and what it is not.

    :returns: what they serve by now: what of *new* was taken up, and the rest as it is in *old*.
    """
    changed = [*_changes(new, old)]
    waiting = [_name(each) for each in changed if each.partition(".")[0] not in TAKEN_UP]
    taken = [_name(each) for each in changed if each.partition(".")[0] in TAKEN_UP]
    now = replace(old, **{each: getattr(new, each) for each in TAKEN_UP})
    for factory in factories:
        factory.renew(now.limits, [_renewed(policy, now) for policy in factory.policies])
        factory.strict_greeting = now.strict_greeting and not factory.lmtp
    what = f"{', '.join(taken)} changed" if taken else "nothing that a running server takes up has changed"
    _log.info("the configuration was read again: {what}", what=what)
    if waiting:
        _log.warn("these have changed as well, and take a restart: {names}", names=", ".join(waiting))
    return now


def _renewed(policy: Policy, config: Config) -> Policy:
    if type(policy) is RelayRule:
        return RelayRule(config.domains, authenticated=config.relay_authenticated)
    return policy


def _changes(new: Any, old: Any, table: str = "") -> Iterator[str]:
    """The fields that differ, those of limits behind ``limits.``."""
    for each in fields(new):
        now, before = getattr(new, each.name), getattr(old, each.name)
        if is_dataclass(now):
            yield from _changes(now, before, f"{table}{each.name}.")
        elif now != before:
            yield table + each.name


def _name(field: str) -> str:
    return _NAMES.get(field, field.replace("_", "-"))

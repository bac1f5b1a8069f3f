"""A reactor, for ``twistd --reactor``."""

from twisted.application.reactors import Reactor

uvloop = Reactor("uvloop", "twistsmtp.uvloopreactor", "asyncio reactor on uvloop (pip install 'twistsmtp[uvloop]')")

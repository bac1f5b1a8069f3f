"""What `twistd` and `twist` look for behind the name ``smtp``."""

from twistsmtp.config import ConfigError
from twistsmtp.options import Options, give_up
from twistsmtp.service import Command, SMTPService

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> SMTPService:
    """The service that *options* describe.

    :raises ConfigError: it cannot be made.
    :raises SystemExit: the same under twistd or twist, after one line that says why.
    """
    config, several = options.config, options.config.workers > 1
    if options.parent is None:
        if several:
            raise ConfigError("workers is of no use in an application: they are for twistd and twist")
        return SMTPService(config, read=options.read)
    try:
        if several:
            from twistsmtp.workers.parent import Parent

            return Parent(config, options.parent, options.read)
        return Command(config, options.parent, options.read)
    except (ConfigError, OSError) as error:
        give_up(options, error)

"""``python -m twistsmtp.testing``: see `twistsmtp.testing.catcher`."""

import sys

from twistsmtp.testing.catcher import main

if __name__ == "__main__":
    sys.exit(main())

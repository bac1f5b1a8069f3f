"""``python -m twistsmtp``: a server to try things with, which prints what it gets. It takes what ``python -m aiosmtpd``
takes. For a server that stays, ``twistd smtp`` is the program."""

from twistsmtp.compat.aiosmtpd.main import main

if __name__ == "__main__":
    main()

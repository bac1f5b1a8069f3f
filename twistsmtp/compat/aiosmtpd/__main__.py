"""``python -m twistsmtp.compat.aiosmtpd``: see `main`."""

from twistsmtp.compat.aiosmtpd.main import main

if __name__ == "__main__":
    main()

"""``python -m twistsmtp.compat.smtpd``."""

from twistsmtp.compat.smtpd import main

if __name__ == "__main__":
    main()

"""The SMTP server for Python, on Twisted."""

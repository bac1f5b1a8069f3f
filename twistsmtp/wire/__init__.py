"""The wire: what SMTP's octets mean. Pure functions and values, without Twisted."""

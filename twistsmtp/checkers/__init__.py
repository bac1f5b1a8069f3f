"""Credential checkers for `twisted.cred`, by name: ``--auth passwd:/etc/twistsmtp/users``."""

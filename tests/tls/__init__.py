"""Tests of `twistsmtp.tls`."""

"""Tests of twistsmtp.wire."""

"""Older APIs that keep working: a program written for one of them runs with its imports changed, and nothing else.

Each is a thin front over the protocol that all of twistsmtp speaks by. Where an original was not safe, ours is, and the
page *Migrating* says so.
"""

"""Clients that others wrote, against the real server; and servers that are killed under their mail."""

"""TLS: the server's certificates, the contexts made of them, and what is known of an encrypted connection."""

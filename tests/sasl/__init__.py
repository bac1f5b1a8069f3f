"""SASL mechanisms: octets in, steps out."""

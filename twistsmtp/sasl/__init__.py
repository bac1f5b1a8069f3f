"""SASL mechanisms (RFC 4422) as pure machines. `twistsmtp.sasl.api` is the contract."""

"""Policies: who is refused, and when. `twistsmtp.policy.api` is the contract."""

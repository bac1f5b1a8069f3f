"""``benchmarks/``: nothing here says how fast anything was, and nothing needs the peers or a network."""

"""How fast the server is, beside others; docs/performance.rst says how to read it."""

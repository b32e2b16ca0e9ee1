"""What `make bench` measures. Start at `__main__`; `docs/performance.md` says how to read the figures."""

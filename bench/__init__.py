"""Benchmarks: python -m bench NAME, or bin/bench NAME."""

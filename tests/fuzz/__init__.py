"""Hostile input: what may come of it, checked by random tests and by a coverage-guided fuzzer."""

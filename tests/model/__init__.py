"""The delivery algorithm as a finite state machine, checked in every interleaving.

docs/delivery.md states the guarantees; this package checks the algorithm behind them, apart from
any code that implements it. Read it as a specification, in this order:

- ``state``: what is stored (stream, cursor, rows), what a client has seen, where each process is
- ``rules``: the bounds of a configuration, and the mutants: wrong algorithms that must be caught
- ``publisher``, ``fanout``, ``join``, ``leave``: one process each, a function for each atomic step
- ``world``: what nobody decides: cuts, crashes, lost rings, time passing, the sweep
- ``algorithm``: these together, for ``checker`` to explore

One store call or one post is one step. Time is left out: whatever may happen "after a while"
(a hole is filled, a lease expires, a `joining` row is too old) may happen at any moment.

``python -m tests.model`` runs every configuration, ``--large`` the large ones, ``--mutants`` shows
a shortest counterexample of every mutant.
"""

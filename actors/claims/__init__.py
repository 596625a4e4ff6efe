"""What this project relies on, claim by claim, measured on a card: the hardware acceptance run.

Straight on the library's own API, without Ray and without the driver's side. Each measurement is a
process of its own (``python -m actors.claims``), since what a process has registered and allocated
stays until it ends: ``trial`` is what runs there, ``process`` starts it, ``claims`` says what must
hold, ``networks`` writes small models to try it with.
"""

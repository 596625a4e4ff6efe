"""What MindSpore Lite's memory sharing saves, straight on its API: four scenarios, a script each.

``python -m examples.seed.one_card``, ``.two_cards``, ``.five_threads`` and ``.ge_pair`` run on
emulated cards; with ``--kind ascend`` the same code runs on real ones, through ``mindspore_lite``.
Each measures with and without sharing, in a process of its own: what a process has registered and
allocated stays until it ends.
"""

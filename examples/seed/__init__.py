"""What MindSpore Lite's memory sharing saves: four scenarios, each on the API and by the driver.

``python -m examples.seed.one_card``, ``.two_cards``, ``.five_threads`` and ``.ge_pair`` are
straight on the library's API and run on emulated cards; with ``--kind ascend`` the same code runs
on real ones, through ``mindspore_lite``. Each measures with and without sharing, in a process of
its own: what a process has registered and allocated stays until it ends. ``.driven`` is all four
again as a deployment, where nobody has to know any of that.
"""

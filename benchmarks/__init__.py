"""What the project promises in numbers, measured: ``make bench`` runs every module here."""

import os

# As the emulated card has it: the engine alone, beside it, is not to tell its maker what it runs.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

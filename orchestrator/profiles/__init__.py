"""What is known about each model's sizes and times, where it comes from, and the cache of it."""

from orchestrator.profiles.cache import ProfileCache, profile_key
from orchestrator.profiles.file import ProfileFile, profiles_text
from orchestrator.profiles.profile import (
    ModelProfile,
    collect,
    measured_sizes,
    missing,
    session_members,
)
from orchestrator.profiles.residuals import Residuals
from orchestrator.profiles.times import BatchTime, batch_times, gears_of, largest_batch

__all__ = [
    "BatchTime",
    "ModelProfile",
    "ProfileCache",
    "ProfileFile",
    "Residuals",
    "batch_times",
    "collect",
    "gears_of",
    "largest_batch",
    "measured_sizes",
    "missing",
    "profile_key",
    "profiles_text",
    "session_members",
]

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

__all__ = [
    "ModelProfile",
    "ProfileCache",
    "ProfileFile",
    "Residuals",
    "collect",
    "measured_sizes",
    "missing",
    "profile_key",
    "profiles_text",
    "session_members",
]

"""What can be known of a deployment's model files before any card or cluster: pure reading."""

from orchestrator.check.models import ModelCheck, check_deployment

__all__ = ["ModelCheck", "check_deployment"]

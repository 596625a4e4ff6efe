"""``python -m orchestrator.config`` writes the committed JSON schema anew."""

from orchestrator.config.schema import write_schema

if __name__ == "__main__":
    write_schema()

"""For authors of packs: `check_pack`, tiny models, prose for sample documents, and fixtures for pytest."""

from domadapt.testing.conformance import NonconformingError, check_pack

__all__ = ["NonconformingError", "check_pack"]

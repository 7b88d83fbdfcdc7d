"""The `sec` domain pack of adapt: filings to the U.S. Securities and Exchange Commission."""

__version__ = "0.1.0"

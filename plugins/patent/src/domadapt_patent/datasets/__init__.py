"""Data sets that others made of the office's files: HUPD and BIGPATENT, read from their published files."""

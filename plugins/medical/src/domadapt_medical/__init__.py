"""The medical domain pack: articles in JATS, a sample corpus of fictional studies, a benchmark on local data."""

__version__ = "0.1.0"

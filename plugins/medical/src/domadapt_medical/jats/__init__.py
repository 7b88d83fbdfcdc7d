"""Articles in JATS (ANSI/NISO Z39.96) and its ancestors, the NLM tag sets: bytes in, plain text with facts out."""

from domadapt_medical.jats.article import Article, Kept, Rejected, parse_articles

__all__ = ["Article", "Kept", "Rejected", "parse_articles"]

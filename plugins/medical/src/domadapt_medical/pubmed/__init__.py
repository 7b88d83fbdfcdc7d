"""PubMed's citations (MEDLINE XML, baseline and update files, answers of its services): bytes in, abstracts out."""

"""Patents for domadapt: USPTO full text since 1976, HUPD, BIGPATENT, a sample corpus, benchmarks, recipes."""

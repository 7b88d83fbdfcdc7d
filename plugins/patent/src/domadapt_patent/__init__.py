"""Patents for domadapt: USPTO red-book XML, a sample corpus of fictional patents, a benchmark, recipes."""

"""Merging tensor by tensor from safetensors to safetensors, with mergekit 0.1.5's arithmetic and without its sort.

checkpoint, writing: memory maps in, a laid-out file out.  gradients: one number a tensor out of mergekit's
settings.  thresholds: the k-th largest magnitude by counting.  kernels, operators: the arithmetic, compiled by
numba or as array operators of the same bits (numpy; torch on a GPU).  methods: what each method asks of them.
engine: one merge.  sweep: many, in memory or written.  tensorwise: methods that others write.

Nothing here imports torch or transformers on the way from folder to folder: starting is part of the time.
"""

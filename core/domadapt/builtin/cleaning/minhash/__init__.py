"""Near-duplicates by MinHash and LSH, from bytes to clusters in compiled code.

arithmetic: what is computed.  kernels, compiled: by numba's machine code.  arrays: the same bits by numpy.  clusters:
one pass over the documents.
"""

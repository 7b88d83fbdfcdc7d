"""Training with NVIDIA's NeMo 2.7.3, which lives in an environment of its own: a job is written, run there, read."""

"""Laws of continual pre-training: what the loss will be at a ratio, a size, a length that nobody has trained."""

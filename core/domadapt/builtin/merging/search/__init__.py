"""Sweeps: many merges of the same parents, scored in memory on the selection split, of which one becomes a model."""

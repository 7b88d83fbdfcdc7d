"""Where a run works: the ranks of a training on one or many machines, and jobs of a Slurm cluster."""

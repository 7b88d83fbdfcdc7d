"""adapt: turn a general language model into a domain's model, and prove that nothing else was lost."""

from domadapt.hookspecs import hookimpl

__version__ = "0.1.0"
__all__ = ["__version__", "hookimpl"]

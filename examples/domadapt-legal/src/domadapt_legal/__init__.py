"""The legal domain pack of adapt, as somebody outside the project would write it."""

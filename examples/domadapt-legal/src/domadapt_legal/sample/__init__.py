"""Sample documents: an island with eight acts, and what its court makes of them. `make.py` writes them."""

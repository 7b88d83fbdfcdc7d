"""A corpus of fictional patents in red-book XML: simulated inventions, composed prose, claim trees."""

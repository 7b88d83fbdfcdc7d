"""EDGAR over the network: what there is, fetching it within the SEC's limits, keeping it on disk."""

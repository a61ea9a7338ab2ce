"""Settings of the lane and the lab, changed while it learns."""

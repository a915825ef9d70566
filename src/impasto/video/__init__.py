"""Films: every frame painted, all in one look, without flicker."""

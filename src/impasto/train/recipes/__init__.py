"""Training settings under a name, YAML; see `impasto.recipes`."""

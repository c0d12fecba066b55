"""The catalogue: one row per paper, one YAML entry per paper that is built, evidence from runs."""

"""Named identities and measurements: `f(seed, ...)` gives two sides that must agree, or one number."""

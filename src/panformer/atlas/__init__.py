"""The atlas: pages of what was built, claimed and measured, written from the catalogue, its evidence and records."""

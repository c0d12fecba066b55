"""Mechanisms compared on one task at equal budget: plan, trials, judgement, record."""

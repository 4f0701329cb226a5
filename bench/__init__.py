"""Measurements: each ``bench_*.py`` is one, run by ``make bench``."""

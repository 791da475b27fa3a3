"""Measure Raut beside the libraries that people would use instead."""

"""Measure networks and models."""

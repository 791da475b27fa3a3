"""Prepare, check, load and augment data sets."""

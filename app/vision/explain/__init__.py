"""Explain what every stage of the pipeline does with a photo."""

"""Show what every stage of the pipeline made of a photo."""

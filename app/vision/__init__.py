"""Read faces: a photo in, readings out. Nothing in here knows Flask."""

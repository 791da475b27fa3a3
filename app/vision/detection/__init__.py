"""Find faces: proposals, a face classifier, and the passes of the search."""

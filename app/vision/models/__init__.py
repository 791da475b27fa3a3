"""Load models by their cards, and run them."""

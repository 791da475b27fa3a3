"""Turn bytes into upright pixels, and pixels into the crops that networks take."""

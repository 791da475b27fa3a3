"""Turn a finished run into a model that is served."""

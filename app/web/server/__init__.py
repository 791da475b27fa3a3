"""What every request passes: errors, authentication, limits, metrics and logs."""

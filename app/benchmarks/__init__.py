"""Measure the running application from outside, as its users meet it."""

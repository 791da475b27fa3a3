"""Run models on an inference server that speaks the Open Inference Protocol."""

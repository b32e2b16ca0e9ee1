"""Hostile input, made from a seed: records of every input topic, and webhook bodies; and what must become of each."""

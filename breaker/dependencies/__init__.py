"""Circuits of an app's dependencies, one for each dependency, watched together."""

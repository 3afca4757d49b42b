"""Choosing by validation alone: luck of patients, of a training and of having been chosen, each told apart."""

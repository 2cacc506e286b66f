"""Checks of the exercises, self-check questions, a learner's progress, and the grading of submissions."""

"""A stand-in of Colab's own package: what the course could meet of it, and nothing that works.

Colab's kernel has imported `google.colab` before the first cell runs; that is how a notebook knows where it is.
"""

from . import output  # noqa: F401

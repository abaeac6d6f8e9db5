"""Kernels in C++ for the CPU, beside the plain torch versions that run wherever these can't."""

from shoestring.ops.native.library import Absent, Library, find_library, library_for

__all__ = ["Absent", "Library", "find_library", "library_for"]

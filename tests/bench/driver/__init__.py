# SPDX-License-Identifier: MIT
"""Starts the contestants, measures them in turns, keeps what came out, and writes docs/BENCHMARKS.md."""

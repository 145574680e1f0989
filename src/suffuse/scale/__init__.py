"""Samples in numbers that outgrow one process: files of a fixed range of seeds each, drawn by many workers."""

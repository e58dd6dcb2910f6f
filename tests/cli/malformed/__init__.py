"""Inputs as they come from broken disks, other programs and careless hands, through the real command line.

Every case says what must come of it: an error of the documented code with a cure and no traceback, or, where the input
is in truth acceptable, what is read of it.
"""

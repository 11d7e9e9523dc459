"""What can be found in a state, one file a family; each file says when, how grave, and by which claim.

A family is a function of a :class:`~scheduler.findings.scene.Scene` that yields findings. ``scheduler.detection`` calls
it only if the one pass of ``scheduler.screening`` says that there may be something.
"""

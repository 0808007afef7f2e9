"""From the worst points of a screen to local maxima of the error.

``ascent``  batched projected L-BFGS on a box
``climbers``  the steps of it, in tensors
``starts``  places where nobody looked: corners, faces, gaps between samples
``kinks``   where networks bend: zero sets of neurons, breakpoints in one dimension
``refine``  all of it within a budget
"""

"""Detection beside the network: what its outputs mean and how they are trained.

anchors.py   the boxes that offsets are relative to
boxes.py     offsets and corners, overlap; numpy and torch
nms.py       non-maximum suppression in plain tensor operations, exact
greedy.py    the same in a plain loop, to test against
matching.py  which anchor answers for which object
loss.py      SSD's loss
records.py   labeled objects, and what was found, from any of the outputs
average_precision.py  COCO's mAP of what was found (the extra `coco`)
"""

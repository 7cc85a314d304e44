"""From labeled images to a checkpoint that `build` takes.

The images, in reading order: `entries` (one labeled image, wherever its bytes lie), `folders`,
`lists` and `shards` (what finds them), `readable` (which of them are damaged), `packed` (a million
of them in few bytes), `sources` (training and validation sets), `augment` (random views of an
image). Pictures with boxes and masks: `formats` (which of them it is), `coco`, `voc` and `masks`
(what reads them), `objects` (training and validation sets) and `object_crops` (random views). Of
all: `views` (what a network of a task sees), `targets` and `loading` (batches for any number of
processes).

The training, in reading order: `recipe`, `recipes` and `task_recipes` (every number, with its
source), `settings` (what a run is asked to do), `schedule`, `optimizers`, `ema`, `freeze`, `start`
(random weights or a checkpoint), `validation`, `objective`, `detection_objective` and
`segmentation_objective` (a task's loss and figures), `learner` (one update), `float_learner`,
`run_folder` (what is on disk), `engine` (the loop) and `runs` (who calls it). Then `qat` and
`qat_learner`. Beside them `distributed`, `device`, `interrupt`, `curves` and `tensorboard`.
"""
